"""Database files as the file system sees them: private, whole, and on the disk before anything counts on them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PRIVATE = 0o600

# A database is its own file and these; beside another file of its name each would be taken for that file's own.
SIDES = ("-wal", "-shm", "-journal")


def side(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def create_private(path: Path) -> None:
    """Makes an empty file that nobody else can read; FileExistsError when there is one."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def copy_private(source: Path, copy: Path) -> None:
    """Copies a database whose log is merged into a new private file, and returns once it is on the disk."""
    with (
        source.open("rb") as reading,
        os.fdopen(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE), "wb") as writing,
    ):
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())


def remove_database(path: Path) -> None:
    for suffix in ("", *SIDES):
        side(path, suffix).unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """A file that was restored or copied may have come back readable for others."""
    if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077:
        path.chmod(PRIVATE)


def sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
