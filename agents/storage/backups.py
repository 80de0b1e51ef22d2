"""Rolling backups of the database: under its own key, read back before they count, some of each age kept.

Runs in: the runtime process; worker threads copy and read back, while the store thread works on.

A copy is made of the database's file at rest: what is written meanwhile stays in the log beside it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from agents.clock import Clock
from agents.credentials import ResolvedKey
from agents.durable import sync_folder
from agents.errors import DiskFull, StoreProblem
from agents.paths import HomePaths
from agents.storage.disk import create_private, remove_database, side, sync_file
from agents.storage.driver import os_problem, translated, write_copy
from agents.storage.opening import inspect
from agents.storage.store import Store

KEPT_NEWEST = 3
KEPT_DAYS = 7
EVERY = timedelta(hours=24)
EVERY_WHEN_CHANGED = timedelta(hours=1)
AT_STOP_WHEN_CHANGED = timedelta(minutes=10)
AT_STOP_MAX_BYTES = 200_000_000  # a larger one is copied while Hearth runs, since a stop has to be quick

_NAME = re.compile(r"hearth-(\d{8}-\d{6})\.db")
_TIME = "%Y%m%d-%H%M%S"  # UTC

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A copy that was whole when it was made."""

    path: Path
    made_at: datetime


def list_backups(folder: Path, *, now: datetime) -> list[Backup]:
    """Newest first. A backup from the future was made while the clock was wrong, so it counts as older than the others."""
    try:
        names = [file.name for file in folder.iterdir()]
    except OSError:
        return []  # nothing can be restored from it; the next backup says what is wrong with it
    found = [Backup(path=folder / name, made_at=made_at) for name in names if (made_at := _made_at(name))]
    return sorted(found, key=lambda backup: (backup.made_at <= now, backup.made_at), reverse=True)


def newest_that_opens(folder: Path, key: ResolvedKey, *, now: datetime) -> Backup | None:
    """Reads the backups back, newest first, until one is whole."""
    for backup in list_backups(folder, now=now):
        try:
            with translated(backup.path):
                inspect(backup.path, key)
        except StoreProblem as error:
            log.warning("the backup %s does not open: %s", backup.path.name, type(error).__name__)
        else:
            return backup
    return None


def kept_of(made: Sequence[datetime]) -> set[datetime]:
    """Of the times of all backups, newest first, those to keep: the newest, and the last of each of the newest days (UTC).

    Days without a backup do not count, so a home that slept for a month has lost none when it wakes up.
    """
    of_days: dict[date, datetime] = {}
    for moment in made:
        of_days.setdefault(moment.date(), moment)
    return {*made[:KEPT_NEWEST], *list(of_days.values())[:KEPT_DAYS]}


class Backups:
    """Makes a backup each day, each hour in which something was written, and before a stop; keeps some of each age."""

    def __init__(self, *, paths: HomePaths, store: Store, key: ResolvedKey, clock: Clock) -> None:
        self.folder = paths.backups
        self.problem: str | None = None  # why the last attempt made none
        self._database = paths.database
        self._store = store
        self._key = key
        self._clock = clock
        self._rows_in_newest: int | None = None  # unknown at first: the last process may have been killed
        self._one_at_a_time = asyncio.Lock()

    def newest_first(self) -> list[Backup]:
        """It reads a folder: call it off the event loop."""
        return list_backups(self.folder, now=self._clock.now())

    async def make_if_due(self, *, stopping: bool = False) -> Backup | None:
        """Makes a backup, or None when the newest one will do. Before a stop a younger one will not, and a large database is left out.

        Raises StoreProblem when none could be made, Damaged if the database itself can't be read; every older backup is kept then.
        """
        async with self._one_at_a_time:
            now = self._clock.now().replace(microsecond=0)
            try:
                if stopping and await self._store.size_bytes() > AT_STOP_MAX_BYTES:
                    return None
                rows = await self._store.rows_written()
                young = AT_STOP_WHEN_CHANGED if stopping else EVERY_WHEN_CHANGED
                will_do = young if rows != self._rows_in_newest else EVERY
                if await asyncio.to_thread(self._has_one_younger_than, will_do, now):
                    return None
                made = await self._make(now)
            except StoreProblem as error:
                self.problem = str(error)
                log.warning("no backup was made: %s", type(error).__name__)
                raise
            self.problem, self._rows_in_newest = None, rows
            return made

    def _has_one_younger_than(self, age: timedelta, now: datetime) -> bool:
        newest = next(iter(list_backups(self.folder, now=now)), None)
        return newest is not None and timedelta(0) <= now - newest.made_at < age

    async def _make(self, now: datetime) -> Backup:
        backup = Backup(path=self.folder / f"hearth-{now.strftime(_TIME)}.db", made_at=now)
        new = side(backup.path, ".new")
        try:
            await asyncio.to_thread(self._make_room, await self._store.size_bytes())
            try:
                async with self._store.at_rest():
                    await _in_thread(partial(self._copy, new))
                await _in_thread(lambda _: self._accept(new, backup))
            finally:
                await asyncio.to_thread(remove_database, new)
        except DiskFull as error:
            raise self._no_room() from error
        except OSError as error:
            raise self._problem_of(error) from error
        await asyncio.to_thread(self._forget_old, backup)
        log.info("made the backup %s", backup.path.name)
        return backup

    def _copy(self, new: Path, stopped: Callable[[], bool]) -> None:
        create_private(new)
        with translated(self._database):
            write_copy(self._database, new, self._key, stopped=stopped)

    def _make_room(self, size_bytes: int) -> None:
        """Makes the folder and clears away what a killed start left; a backup must not take the room that the work needs."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        for left in self.folder.glob("hearth-*.db.new*"):
            left.unlink(missing_ok=True)
        if shutil.disk_usage(self.folder).free < 2 * size_bytes:
            raise self._no_room()

    def _accept(self, new: Path, backup: Backup) -> None:
        """Gives the copy its name once it is on the disk and could be read back."""
        sync_file(new)
        try:
            with translated(new):
                inspect(new, self._key)
        except StoreProblem as error:
            raise StoreProblem(
                f"A backup could not be read back, so the older ones are kept; check the disk of {self.folder}."
            ) from error
        new.replace(backup.path)
        sync_folder(self.folder)

    def _forget_old(self, newest: Backup) -> None:
        backups = list_backups(self.folder, now=newest.made_at)
        kept = kept_of([backup.made_at for backup in backups])
        for old in backups:
            if old.made_at in kept or old == newest:
                continue
            try:
                old.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("an old backup can't be deleted: %s", type(error).__name__)

    def _problem_of(self, error: OSError) -> StoreProblem:
        if isinstance(os_problem(error, self.folder), DiskFull):
            return self._no_room()
        return StoreProblem(
            f"No backup can be written to {self.folder}: {error.strerror}; check the folder and its disk."
        )

    def _no_room(self) -> DiskFull:
        return DiskFull(
            f"There is no room for a backup on the disk of {self.folder}; free some, the older ones are kept."
        )


async def _in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Runs `work` on a worker thread; a caller that is cancelled lets it know, and waits until it has ended."""
    stop = threading.Event()
    working = asyncio.get_running_loop().run_in_executor(None, work, stop.is_set)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([working])
        working.exception()  # looked at, so that nobody misses it: the caller wants no answer any more
        raise


def _made_at(name: str) -> datetime | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None  # somebody else's file
