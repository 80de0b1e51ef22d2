"""The encrypted store: one SQLCipher file, one thread that writes it, and an awaitable face for each kind of row."""

from agents.storage.store import Store

__all__ = ["Store"]
