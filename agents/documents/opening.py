"""Opens a file for reading only where it really lies inside its root, and only if it is a plain file.

The path is walked from the root one component at a time, each relative to the open parent and never through a symbolic
link, so that nothing swapped in between a check and its use leads outside (openat(2), CVE-2025-53109).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.core import FILE_GONE
from agents.errors import DocumentProblem
from agents.printable import printable_name

LIMIT_BYTES = 50 * 1024 * 1024  # larger files are refused before a byte is read

# Nothing blocks at a FIFO or a device, and nothing becomes our terminal. Python lets no child inherit the file (PEP 446).
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0)


class FileGone(DocumentProblem):
    """Nothing is at the path any more: it was removed or renamed."""

    code = FILE_GONE


class FileUnreadable(DocumentProblem):
    """Its disk did not give it this time, and may the next."""

    code = "document_unreadable"


# What a disk, a network drive or a busy computer says that may say something else in a minute.
_PASSING = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EAGAIN", "EBUSY", "EINTR", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT")
    if hasattr(errno, name)
)


@contextmanager
def open_inside(path: Path, *, root: Path) -> Iterator[int]:
    """A descriptor of the plain file at `path`, closed at the end. Raises DocumentProblem.

    `root` itself was chosen by the user and may be a link; below it no link is followed. A file with a second name (a hard link)
    is refused: its other name, and so its owner's grant, may lie anywhere.
    """
    try:
        descriptor = _walk(path, root)
    except FileNotFoundError as error:
        raise FileGone(f"{printable_name(path)} is no longer there; put it back to have it read.") from error
    except PermissionError as error:
        raise DocumentProblem(
            f"Hearth may not read {printable_name(path)}; change its permissions."
        ) from error
    except OSError as error:
        problem = FileUnreadable if error.errno in _PASSING else DocumentProblem
        raise problem(_open_failure(path, error)) from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise DocumentProblem(f"{printable_name(path)} is a folder, not a document; name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise DocumentProblem(
                f"{printable_name(path)} is not a plain file but a device or a pipe; name a document."
            )
        if status.st_nlink > 1:
            raise DocumentProblem(
                f"{printable_name(path)} has a second name elsewhere on the disk (a hard link); "
                "put a copy of it into the folder instead."
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(path: Path, root: Path) -> int:
    """Opens `path` below `root`; a link on the way is ELOOP or ENOTDIR."""
    try:
        parts = path.relative_to(root).parts
    except ValueError as error:
        raise DocumentProblem(
            f"{printable_name(path)} is outside the folder {root}; nothing there is read."
        ) from error
    if not parts or ".." in parts:
        raise DocumentProblem(
            f"{printable_name(path)} is not a file inside the folder {root}; nothing there is read."
        )
    if os.open not in os.supports_dir_fd:
        return _walk_by_name(path, root)
    parent = os.open(root, _READ | _FOLDER)
    try:
        for part in parts[:-1]:
            child = os.open(part, _READ | _FOLDER | _NO_LINK, dir_fd=parent)
            os.close(parent)
            parent = child
        return os.open(parts[-1], _READ | _NO_LINK, dir_fd=parent)
    finally:
        os.close(parent)


def _walk_by_name(path: Path, root: Path) -> int:
    """For Windows, which has no openat: the names are resolved first, and again once the file is open."""
    real_root = Path(os.path.realpath(root))

    def lies_inside() -> bool:
        return Path(os.path.realpath(path)).is_relative_to(real_root) and not path.is_symlink()

    if lies_inside():
        descriptor = os.open(path, _READ | getattr(os, "O_BINARY", 0))
        if lies_inside() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _open_failure(path: Path, error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
        return f"{printable_name(path)} is or lies behind a symbolic link, which may lead out of the folder; put a copy there instead."
    if error.errno == errno.ENXIO:
        return f"{printable_name(path)} is not a plain file but a device or a pipe; name a document."
    if error.errno == errno.ENAMETOOLONG:
        return f"The path of {printable_name(path)} is too long for this computer; shorten it."
    if sys.platform == "win32" and error.errno == errno.EISDIR:
        return f"{printable_name(path)} is a folder, not a document; name a file in it."
    return f"{printable_name(path)} can't be opened ({error.strerror}); check the disk it is on."
