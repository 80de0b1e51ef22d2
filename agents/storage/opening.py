"""Opens the database file: looks before it touches, creates whole files only, backs up before it migrates.

Runs in: the runtime process, store thread only.

A file that is refused keeps every byte. That needs care: a connection that may write would, when it closes, move the write-ahead
log into a database that it could not even decrypt. So the first look is read-only, and only a file that passed is opened for work.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from agents.credentials import ResolvedKey
from agents.durable import sync_folder
from agents.errors import Damaged, NewerSchema, StoreProblem, WrongKey
from agents.storage.disk import (
    copy_private,
    create_private,
    make_private,
    remove_database,
    side,
    sync_file,
)
from agents.storage.driver import (
    CORRUPT,
    NOTADB,
    SqlError,
    code_of,
    connect,
    connect_for_work,
    merge_log,
    rows,
    scalar,
)
from agents.storage.migrations import APPLICATION_ID, KNOWN_MIGRATIONS, MIGRATIONS, SCHEMA_VERSION, migrate

_PLAIN_HEADER = b"SQLite format 3\0"  # https://sqlite.org/fileformat2.html#the_database_header
_PAGE_BYTES = 4096  # SQLCipher's and SQLite's default, which Hearth never changes
# A longer history would take seconds to look through before anything else: there a damaged page is found when it is used, and by
# the next backup, which reads them all.
_CHECKED_BYTES = 300_000_000
_KEPT_COPIES = 3  # of those made before updates


def open_database(path: Path, key: ResolvedKey) -> Database:
    """A working connection with the newest schema.

    Raises WrongKey, NewerSchema or Damaged with the files untouched, DiskFull, or StoreProblem.
    """
    if not path.exists():
        _create(path, key)
    for file in (path, side(path, "-wal"), side(path, "-shm")):
        make_private(file)
    pending = inspect(path, key, whole=path.stat().st_size <= _CHECKED_BYTES)
    if pending:
        _back_up(path, key, label=f"before-{pending[0]}")
    db = connect_for_work(path, key)
    try:
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def inspect(path: Path, key: ResolvedKey, *, whole: bool = True) -> list[str]:
    """Looks at a database without changing a byte of it; returns the names of the migrations that it still needs.

    Every page is read, unless `whole` is False: then only those that hold the schema.
    """
    _refuse_by_header(path, encrypted_key=key.encrypts)
    with _reading(path, key) as db:
        try:
            scalar(db, "SELECT count(*) FROM sqlite_schema")
            if scalar(db, "PRAGMA application_id") != APPLICATION_ID:
                raise Damaged(
                    f"The file {path} is a database of another program; name another home with --home."
                )
            applied = {migration.name for migration in MIGRATIONS.applied(db)}
            if scalar(db, "PRAGMA user_version") > SCHEMA_VERSION or applied - set(KNOWN_MIGRATIONS):
                raise NewerSchema(
                    f"The database {path} was written by a newer Hearth; update Hearth to open it."
                )
            if whole and [tuple(r.values()) for r in rows(db, "PRAGMA quick_check(1)")] != [("ok",)]:
                raise _damaged(path)
            return [name for name in KNOWN_MIGRATIONS if name not in applied]
        except SqlError as error:
            if code_of(error) == CORRUPT:
                raise _damaged(path) from error
            if code_of(error) == NOTADB:
                raise _unreadable(path, key) from error
            raise


def _refuse_by_header(path: Path, *, encrypted_key: bool) -> None:
    if not path.is_file():
        raise StoreProblem(
            f"The database {path} is not a file; move it away or name another home with --home."
        )
    with path.open("rb") as file:
        header = file.read(len(_PLAIN_HEADER))
        size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes < _PAGE_BYTES:
        raise _damaged(path)
    if header == _PLAIN_HEADER and encrypted_key:
        raise WrongKey(
            f"The database {path} is not encrypted, so no key opens it; start with --insecure-no-encryption."
        )
    if header != _PLAIN_HEADER and not encrypted_key:
        raise WrongKey(
            f"The database {path} is encrypted or damaged; start with its key (--key-file FILE or --passphrase), "
            "or name another home with --home."
        )


@contextmanager
def _reading(path: Path, key: ResolvedKey) -> Iterator[Database]:
    """A connection that can't write. With no write-ahead log it takes no lock either; with one, SQLite must index the log in
    a shared file, which goes again afterwards."""
    log, index = side(path, "-wal"), side(path, "-shm")
    has_log = log.exists() and log.stat().st_size > 0
    had_index = index.exists()
    db = connect(path, key, options="mode=ro" if has_log else "mode=ro&immutable=1")
    try:
        yield db
    finally:
        db.close()
        if not had_index:
            index.unlink(missing_ok=True)


def _unreadable(path: Path, key: ResolvedKey) -> StoreProblem:
    """Tells a damaged file from a wrong key: SQLCipher seals each page, and the right key still opens those that are whole."""
    pages = -(-path.stat().st_size // _PAGE_BYTES)
    if key.encrypts:
        db = connect(path, key, options="mode=ro&immutable=1")
        try:
            broken = len(rows(db, "PRAGMA cipher_integrity_check"))
        finally:
            db.close()
        if broken >= pages:
            held = f" in {key.key_file}" if key.key_file else ""
            return WrongKey(
                f"The key{held} does not open the database {path}, or the file is damaged from its start; "
                "check the key, or name another home with --home."
            )
    return _damaged(path)


def _damaged(path: Path) -> Damaged:
    return Damaged(
        f"The database {path} is damaged; put a whole copy of it in its place, or name another home with --home."
    )


def _create(path: Path, key: ResolvedKey) -> None:
    """Makes the database under another name first: a file named `path` is always whole, whenever the power went."""
    log = side(path, "-wal")
    if log.exists() and log.stat().st_size > 0:
        raise Damaged(
            f"The database {path} is missing but its log {log.name} is there; put it back, or move the log away."
        )
    new = side(path, ".new")
    remove_database(new)
    try:
        create_private(new)
        db = connect_for_work(new, key)
        try:
            migrate(db)
            merge_log(db)
        finally:
            db.close()
        sync_file(new)
        new.rename(path)
        sync_folder(path.parent)
    except BaseException:
        remove_database(new)
        raise


def _back_up(path: Path, key: ResolvedKey, *, label: str) -> None:
    """Copies the database beside itself and checks that the copy can be opened, before anything in it is changed."""
    db = connect_for_work(path, key)
    try:
        merge_log(db)
    finally:
        db.close()
    backup, partial = side(path, f".{label}"), side(path, f".{label}.part")
    partial.unlink(missing_ok=True)
    try:
        copy_private(path, partial)
        _verify_copy(partial, key)
        partial.replace(backup)
        sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _forget_old_copies(path, newest=backup)


def _forget_old_copies(path: Path, *, newest: Path) -> None:
    copies = [
        file
        for file in path.parent.glob(f"{glob.escape(path.name)}.before-*")
        if file.suffix != ".part" and file != newest  # whatever the clock says
    ]
    copies.sort(key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for old in copies[_KEPT_COPIES - 1 :]:
        old.unlink(missing_ok=True)


def _verify_copy(copy: Path, key: ResolvedKey) -> None:
    try:
        inspect(copy, key)
    except (WrongKey, Damaged) as error:
        raise StoreProblem(
            f"The copy that is made before an update can't be read back, so nothing was changed; check the disk of {copy.parent}."
        ) from error
