"""The store as the runtime sees it: open it, use its parts, close it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from agents.clock import Clock
from agents.credentials import ResolvedKey
from agents.storage.agent_store import AgentStore
from agents.storage.conversation_store import ConversationStore
from agents.storage.file_store import FileStore
from agents.storage.meta_store import MetaStore
from agents.storage.opening import open_database
from agents.storage.run_store import RunStore
from agents.storage.writer import Writer


class Store:
    """An open database. Every method of its parts is one transaction; what it returned is on the disk."""

    def __init__(self, writer: Writer, *, encrypted: bool, clock: Clock) -> None:
        self._writer = writer
        self.encrypted = encrypted
        self.agents = AgentStore(writer, clock)
        self.runs = RunStore(writer, clock)
        self.files = FileStore(writer)
        self.conversations = ConversationStore(writer, clock)
        self.meta = MetaStore(writer)

    @classmethod
    async def open(cls, path: Path, key: ResolvedKey, *, clock: Clock) -> Store:
        """Opens the database, or creates it when there is none.

        Raises WrongKey, NewerSchema or Damaged with every byte of the files as it was, DiskFull, or StoreProblem.
        """
        writer = Writer(path)
        await writer.open(partial(open_database, path, key))
        return cls(writer, encrypted=key.encrypts, clock=clock)

    async def close(self) -> None:
        """Lets the work in hand finish, then leaves one whole file. May be called twice."""
        await self._writer.close()
