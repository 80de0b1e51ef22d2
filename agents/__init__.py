"""The runtime: agents, triggers, runs, memory and the local API, always on, in a process of its own."""
