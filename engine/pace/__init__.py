"""How fast and how urgently: threads, chunk sizes, OS priorities, guessing ahead."""
