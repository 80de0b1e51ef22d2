"""Opens a home's database or, when it is damaged and somebody asked for it, puts the newest whole backup in its place.

Runs in: the runtime process, before it serves; the caller holds the home's lock.

Without being asked nothing is replaced: the sentence names the backup that would be, and every file stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agents.clock import Clock
from agents.credentials import ResolvedKey
from agents.durable import sync_folder
from agents.errors import Damaged, WrongKey
from agents.paths import HomePaths
from agents.storage.backups import Backup, list_backups, newest_that_opens
from agents.storage.disk import SIDES, copy_private, remove_database, side
from agents.storage.driver import translated
from agents.storage.opening import inspect
from agents.storage.store import Store

OPTION = "--restore-backup"
NOTHING_TO_RESTORE = "The database is sound, so no backup was restored."

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open database and what its user must be told of the opening."""

    store: Store
    notice: str | None = None


async def open_or_restore(paths: HomePaths, key: ResolvedKey, *, clock: Clock, restore: bool) -> Opened:
    """Opens the database, or creates it in a home that never had one.

    Raises what Store.open raises. A damaged database that has a whole backup is Damaged, also where its key seems wrong: the
    backup opens with it. With `restore` the backup takes its place instead, and the damaged files are kept beside it.
    """
    try:
        await asyncio.to_thread(_refuse_to_begin_anew, paths, clock.now())
        store = await Store.open(paths.database, key, clock=clock)
    except (Damaged, WrongKey) as error:
        backup = await asyncio.to_thread(newest_that_opens, paths.backups, key, now=clock.now())
        is_missing = not paths.database.exists()
        if backup is None:
            has_some = await asyncio.to_thread(list_backups, paths.backups, now=clock.now())
            if isinstance(error, Damaged) and not is_missing and (has_some or restore):
                raise Damaged(_nothing_opens(paths)) from error
            raise
        what = "missing" if is_missing else "damaged"
        if not restore:
            raise Damaged(_offer(paths.database, f"its backup {_when(backup, clock.now())}", what)) from error
    else:
        return Opened(store=store, notice=NOTHING_TO_RESTORE if restore else None)
    aside = side(paths.database, f".damaged-{clock.now():%Y%m%d-%H%M%S}")
    await asyncio.to_thread(_put_in_place, backup, paths.database, key, aside)
    log.warning("restored the backup %s", backup.path.name)
    store = await Store.open(paths.database, key, clock=clock)
    return Opened(store=store, notice=_told(f"its backup {_when(backup, clock.now())}", what, aside))


def _refuse_to_begin_anew(paths: HomePaths, now: datetime) -> None:
    """A new database in a home with backups would look like a loss of everything, and push the good backups out in a week."""
    if not paths.database.exists() and list_backups(paths.backups, now=now):
        raise Damaged(
            f"The database {paths.database} is missing and none of its backups opens; put it back, or move "
            f"{paths.backups} and {paths.key_info} away to begin anew."
        )


def _put_in_place(backup: Backup, path: Path, key: ResolvedKey, aside: Path) -> None:
    """Prepares the new database whole before it moves the old one; killed at any point, the next start can do it again."""
    new = side(path, ".new")
    with translated(path):
        try:
            remove_database(new)
            copy_private(backup.path, new)
            inspect(new, key)
            # The log first: beside the restored file it would be taken for its own.
            for suffix in (*SIDES, ""):
                if side(path, suffix).exists():
                    side(path, suffix).rename(side(aside, suffix))
            sync_folder(path.parent)
            new.rename(path)
            sync_folder(path.parent)
        except BaseException:
            remove_database(new)
            raise


def _nothing_opens(paths: HomePaths) -> str:
    return (
        f"The database {paths.database} is damaged and no backup in {paths.backups} opens, so nothing was changed; "
        "name another home with --home."
    )


def _offer(path: Path, backup: str, what: str) -> str:
    return (
        f"The database {path} is {what}, but {backup} opens; start `hearth serve {OPTION}` "
        "to put that in its place" + (", and the damaged file is kept." if what == "damaged" else ".")
    )


def _told(backup: str, what: str, aside: Path) -> str:
    sentence = f"The database was {what}, so {backup} was restored"
    if what == "missing":
        return f"{sentence}; what came later is lost."
    return f"{sentence}; what came later is lost unless it can be saved from {aside.name}, where the old file is kept."


def _when(backup: Backup, now: datetime) -> str:
    """`from 3 hours ago (2026-11-20 19:04 UTC)`: people have to know how much they would lose."""
    moment, minutes = f"{backup.made_at:%Y-%m-%d %H:%M} UTC", (now - backup.made_at) // timedelta(minutes=1)
    if minutes < 0:
        return f"of {moment}"  # one of the two clocks was wrong
    for unit, length in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        count = minutes // length
        if count >= (2 if unit == "day" else 1):  # `30 hours ago` says more than `1 day ago`
            return f"from {count} {unit}{'s' if count > 1 else ''} ago ({moment})"
    return f"from less than a minute ago ({moment})"
