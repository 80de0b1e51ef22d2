"""States of sequences outside the KV cache: in memory, and encrypted on disk."""
