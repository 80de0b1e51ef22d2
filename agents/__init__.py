"""The runtime: agents, triggers, runs, memory and the local API, always on, in a process of its own."""

__version__ = "0.1.0"
