"""The runtime's side of the engine: keeps a child alive, and hands work to it."""
