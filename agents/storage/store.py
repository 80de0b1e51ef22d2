"""The store as the runtime sees it: open it, use its parts, close it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from sqlite_utils import Database

from agents.clock import Clock
from agents.credentials import ResolvedKey
from agents.storage.agent_store import AgentStore
from agents.storage.conversation_store import ConversationStore
from agents.storage.disk import create_private
from agents.storage.driver import connect_for_copy, scalar
from agents.storage.file_store import FileStore
from agents.storage.meta_store import MetaStore
from agents.storage.opening import open_database
from agents.storage.run_store import RunStore
from agents.storage.writer import Writer


class Store:
    """An open database. Every method of its parts is one transaction; what it returned is on the disk."""

    def __init__(self, writer: Writer, *, key: ResolvedKey, clock: Clock) -> None:
        self._writer = writer
        self._key = key
        self.encrypted = key.encrypts
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
        return cls(writer, key=key, clock=clock)

    async def size_bytes(self) -> int:
        """What a copy of the database needs on a disk."""

        def job(db: Database) -> int:
            return int(scalar(db, "PRAGMA page_count") * scalar(db, "PRAGMA page_size"))

        return await self._writer.read(job)

    async def copy_to(self, path: Path) -> None:
        """Writes a whole copy, under the same key, into a new private file, while other work goes on.

        The copy is neither synced nor read back. What an attempt that raised has left of it is the caller's to remove.
        """
        await asyncio.to_thread(create_private, path)
        await self._writer.copy_into(partial(connect_for_copy, path, self._key))

    async def close(self) -> None:
        """Lets the work in hand finish, then leaves one whole file. May be called twice."""
        await self._writer.close()
