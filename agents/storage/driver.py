"""The only importer of sqlcipher3: opens keyed connections and turns its errors into the runtime's."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import sqlcipher3
from sqlite_utils import Database

from agents.credentials import ResolvedKey
from agents.errors import Damaged, DiskFull, StoreProblem
from agents.storage.text_search import add_search

SqlError: type[sqlite3.DatabaseError] = sqlcipher3.DatabaseError
UniqueError: type[sqlite3.IntegrityError] = sqlcipher3.IntegrityError

Row = dict[str, Any]

# Primary result codes (https://sqlite.org/rescode.html): the low byte of what the driver reports.
BUSY, LOCKED, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB = 5, 6, 8, 9, 10, 11, 13, 14, 26

BUSY_TIMEOUT_MS = 5_000
LOG_PAGES = 1_000  # how long the write-ahead log may become; SQLite's default
_STEPS_BETWEEN_LOOKS = 10_000  # of SQLite's machine: about a millisecond


class CopyStopped(Exception):
    """A copy was ended because somebody asked for that."""


def connect(path: Path, key: ResolvedKey, *, options: str) -> Database:
    """A keyed connection; nothing has been read yet, so a wrong key shows at the first statement. `options` is a URI query."""
    connection = sqlcipher3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
    )
    try:
        # SQLCipher otherwise writes a line to stderr for each page that it can't read.
        connection.execute("PRAGMA cipher_log_level = NONE").fetchall()
        if key.raw is not None:
            connection.execute(f"PRAGMA key = \"x'{key.raw.hex()}'\"").fetchall()
        elif key.passphrase is not None:
            connection.execute(f"PRAGMA hexkey = '{key.passphrase.encode().hex()}'").fetchall()
        # Plug-ins of sqlite-utils that happen to be installed must never see the decrypted database.
        return Database(
            cast("sqlite3.Connection", connection),
            recursive_triggers=False,
            execute_plugins=False,
            strict=True,
        )
    except BaseException:
        connection.close()
        raise


def connect_for_work(path: Path, key: ResolvedKey) -> Database:
    """The connection that the runtime lives on; the file must exist.

    EXCLUSIVE keeps the index of the write-ahead log in memory instead of a shared file: the home has one owner, and no such
    file can be lost, left behind or readable. FULL syncs each commit before it is acknowledged.
    """
    db = connect(path, key, options="mode=rw")
    try:
        for pragma in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        add_search(db)
    except BaseException:
        db.close()
        raise
    return db


def write_copy(source: Path, copy: Path, key: ResolvedKey, *, stopped: Callable[[], bool]) -> None:
    """Writes what a database's file holds, its log aside, into the empty file `copy`, under the same key; CopyStopped if asked.

    Nobody may write the file meanwhile, though the connection for work may be open: SQLite keeps that one's locks when this
    one is closed. Not by SQLite's backup API: through it SQLCipher hands out a damaged page as zeros, here it is an error.
    """
    db = connect(source, key, options="mode=ro&immutable=1")
    try:
        db.execute("PRAGMA temp_store = MEMORY").fetchall()
        db.conn.set_progress_handler(stopped, _STEPS_BETWEEN_LOOKS)
        db.execute("VACUUM INTO ?", (copy.absolute().as_uri(),))
    except SqlError as error:
        if code_of(error) == INTERRUPT:
            raise CopyStopped from error
        raise
    finally:
        db.close()


def merge_log(db: Database) -> None:
    """Moves the write-ahead log into the database, so that the one file holds everything."""
    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise StoreProblem("Another program is using the database; close it and try again.")


def let_log_grow(db: Database, grows: bool) -> None:
    """While it grows, commits leave the database's own file alone."""
    db.execute(f"PRAGMA wal_autocheckpoint = {0 if grows else LOG_PAGES}").fetchall()


def rows(db: Database, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
    cursor = db.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def row(db: Database, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Row | None:
    found = rows(db, sql, parameters)
    return found[0] if found else None


def scalar(db: Database, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:
    """The first column of the first row; the statement must yield one."""
    return db.execute(sql, parameters).fetchone()[0]


def insert(db: Database, table: str, values: Row) -> int:
    """Inserts one row and returns its id. Table and column names come from this package, never from data."""
    columns = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    cursor = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", values)  # noqa: S608
    return cast("int", cursor.lastrowid)


def code_of(error: sqlite3.DatabaseError) -> int:
    """The primary result code, or 0 when the error did not come from SQLite itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns errors of the disk and the file into one sentence; anything else is a bug and passes."""
    try:
        yield
    except SqlError as error:
        problem = _problem_of(code_of(error), path)
        if problem is None:
            raise
        raise problem from error
    except OSError as error:
        raise os_problem(error, path) from error


def os_problem(error: OSError, path: Path) -> StoreProblem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path)
    return StoreProblem(
        f"The database {path} can't be used: {error.strerror}; check the disk and the folder's permissions."
    )


def disk_full(path: Path) -> DiskFull:
    return DiskFull(f"There is no space left on the disk of {path.parent}; free some and try again.")


def _problem_of(code: int, path: Path) -> StoreProblem | None:
    if code == FULL:
        return disk_full(path)
    if code in (BUSY, LOCKED):
        return StoreProblem(f"Another program is using the database {path}; close it and try again.")
    if code in (CORRUPT, NOTADB):
        return Damaged(
            f"The database {path} is damaged; stop Hearth and start `hearth serve --restore-backup` to go back to "
            "its newest backup."
        )
    if code == READONLY:
        return StoreProblem(f"The database {path} can't be written; check its permissions and the disk's.")
    if code == CANTOPEN:
        return StoreProblem(
            f"The database {path} can't be opened; check the permissions of it and of its folder."
        )
    if code == IOERR:
        return StoreProblem(
            f"The disk failed to read or write the database {path}; check the disk and its free space."
        )
    return None
