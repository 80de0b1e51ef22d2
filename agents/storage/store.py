"""The store as the runtime sees it: open it, use its parts, close it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from sqlite_utils import Database

from agents.clock import Clock
from agents.credentials import ResolvedKey
from agents.errors import StoreProblem
from agents.storage.agent_store import AgentStore
from agents.storage.budget_store import BudgetStore
from agents.storage.conversation_store import ConversationStore
from agents.storage.driver import let_log_grow, merge_log, scalar
from agents.storage.file_store import FileStore
from agents.storage.incident_store import IncidentStore
from agents.storage.meta_store import MetaStore
from agents.storage.opening import open_database
from agents.storage.retention import Retention
from agents.storage.run_store import RunStore
from agents.storage.schedule_store import ScheduleStore
from agents.storage.writer import Writer


class Store:
    """An open database. Every method of its parts is one transaction; what it returned is on the disk."""

    def __init__(self, writer: Writer, *, encrypted: bool, clock: Clock) -> None:
        self._writer = writer
        self.encrypted = encrypted
        self.agents = AgentStore(writer, clock)
        self.runs = RunStore(writer, clock)
        self.schedule = ScheduleStore(writer, clock)
        self.budgets = BudgetStore(writer, clock)
        self.incidents = IncidentStore(writer)
        self.retention = Retention(writer)
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

    async def size_bytes(self) -> int:
        """What a copy of the database needs on a disk."""

        def job(db: Database) -> int:
            # SQLCipher gives the second one as text.
            return int(scalar(db, "PRAGMA page_count")) * int(scalar(db, "PRAGMA page_size"))

        return await self._writer.read(job)

    async def rows_written(self) -> int:
        """How many rows were written since the database was opened."""
        return await self._writer.read(lambda db: db.conn.total_changes)

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Meanwhile the database's file holds all that was stored before, and stays as it is: new work goes into the log beside it.

        Ends with StoreProblem when the store was closed meanwhile, since that changes the file.
        """

        def rest(db: Database) -> None:
            let_log_grow(db, True)
            merge_log(db)

        try:
            await self._writer.read(rest)
            yield
        except BaseException:
            with contextlib.suppress(StoreProblem):
                await self._writer.read(lambda db: let_log_grow(db, False))
            raise
        await self._writer.read(lambda db: let_log_grow(db, False))

    async def close(self) -> None:
        """Lets the work in hand finish, then leaves one whole file. May be called twice."""
        await self._writer.close()
