"""The one thread that owns the database connection, and the awaitable way to it.

Runs in: the runtime process; jobs run on the thread "hearth-store", their callers on the event loop.

A job is a plain function of the database. It runs whole: a caller that is cancelled while its job waits takes the job back; a
caller that is cancelled while its job runs only stops waiting for it. A transaction is therefore never left half done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from agents.errors import StoreProblem
from agents.storage.driver import SqlError, translated

log = logging.getLogger(__name__)

T = TypeVar("T")


class Writer:
    """Runs jobs one after another, in the order in which they were asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hearth-store")
        self._db: Database | None = None
        self._closed = False

    async def open(self, opener: Callable[[], Database]) -> None:
        """Opens the connection on the thread. When that fails or is cancelled, nothing is left open."""

        def job() -> None:
            with translated(self._path):
                self._db = opener()

        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, job)
        except BaseException:
            self._closed = True
            self._executor.submit(self._close_connection)
            self._executor.shutdown(wait=False)
            raise

    async def read(self, job: Callable[[Database], T]) -> T:
        """Runs a job that changes nothing."""

        def guarded() -> T:
            with translated(self._path):
                return job(self._connection())

        return await self._submit(guarded)

    async def write(self, job: Callable[[Database], T]) -> T:
        """Runs a job in one transaction: all of it is on the disk when this returns, or none of it when it raises."""

        def guarded() -> T:
            with translated(self._path):
                db = self._connection()
                with db.atomic():
                    return job(db)

        return await self._submit(guarded)

    async def close(self) -> None:
        """Lets waiting jobs finish, moves the write-ahead log into the database and ends the thread. May be called twice."""
        if self._closed:
            return
        self._closed = True
        closing = self._executor.submit(self._close_connection)
        self._executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))
        # The thread has nothing left to do, so this join is immediate.
        self._executor.shutdown(wait=True)

    async def _submit(self, job: Callable[[], T]) -> T:
        if self._closed:
            raise StoreProblem("The database is closed because Hearth is stopping; start it again.")
        return await asyncio.get_running_loop().run_in_executor(self._executor, job)

    def _connection(self) -> Database:
        if self._db is None:
            raise RuntimeError("the writer was never opened")
        return self._db

    def _close_connection(self) -> None:
        if self._db is None:
            return
        db, self._db = self._db, None
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except SqlError as error:
            # What was acknowledged is safe in the log beside the database, and the next start reads it from there.
            log.warning("the database could not be checkpointed at close: %s", error)
        finally:
            db.close()
