"""Tells versions of a file apart: a hash of its bytes, or a cheap identity where the bytes can't or shan't be read."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from agents.core import FileState
from agents.documents.opening import LIMIT_BYTES, FileGone, open_inside
from agents.errors import DocumentProblem
from agents.printable import printable_name

CHUNK_BYTES = 1 << 20
_UNREAD = "unread:"  # no sha256 in hex begins so
_INODE_MASK = (1 << 63) - 1  # some filesystems use all 64 bits; a database column has 63 and a sign


class FileChanging(DocumentProblem):
    """The file was written to while it was hashed: let it settle and look again."""

    code = "file_changing"


def is_unread(content_hash: str) -> bool:
    """Whether it is an identity made without reading, so that the file is worth another look."""
    return content_hash.startswith(_UNREAD)


def inode_of(status: os.stat_result) -> int:
    """The inode as it is kept: 63 bits of it."""
    return status.st_ino & _INODE_MASK


def state_of(path: Path, status: os.stat_result, content_hash: str) -> FileState:
    """The row that says: this version of the file is known."""
    return FileState(
        path=path,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=inode_of(status),
        content_hash=content_hash,
    )


def fingerprint(
    path: Path, root: Path, *, limit_bytes: int = LIMIT_BYTES, cancelled: threading.Event | None = None
) -> tuple[str, FileState]:
    """The file's identity and state, sha256 in hex over its bytes. Blocks: call it in a thread.

    A file above `limit_bytes`, and one that may not be read, is identified by size and time instead ("unread:…"): it will be refused
    when it is digested, with a sentence, and that too should happen once for each version.
    Raises FileGone, FileChanging, or FileChanging when `cancelled` is set.
    """
    try:
        with open_inside(path, root=root) as descriptor:
            before = os.fstat(descriptor)
            if before.st_size > limit_bytes:
                return _unread(path, before)
            digest = _hash(descriptor, before.st_size, cancelled)
            after = os.fstat(descriptor)
    except FileGone:
        raise
    except (DocumentProblem, OSError):
        return _unread(path, _stat(path))
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if digest is None or not unchanged:
        raise FileChanging(f"{printable_name(path)} is being written to; it is read once it rests.")
    return digest, state_of(path, after, digest)


def _hash(descriptor: int, size_bytes: int, cancelled: threading.Event | None) -> str | None:
    """sha256 in hex, or None when there are not exactly `size_bytes` bytes or nobody waits for it any more."""
    digest, left = hashlib.sha256(), size_bytes
    while chunk := os.read(descriptor, CHUNK_BYTES):
        left -= len(chunk)
        if left < 0 or (cancelled is not None and cancelled.is_set()):
            return None
        digest.update(chunk)
    return digest.hexdigest() if left == 0 else None


def _unread(path: Path, status: os.stat_result) -> tuple[str, FileState]:
    identity = f"{_UNREAD}{status.st_size}:{status.st_mtime_ns}"
    return identity, state_of(path, status, identity)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise FileGone(f"{printable_name(path)} is no longer there.") from error
