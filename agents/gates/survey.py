"""Looks at everything under some paths and boils it down to one hash, which changes when a name or a content does.

Runs in: a worker thread. Symbolic links are not followed, and below the paths hidden files and folders are left out: they are
programs' own.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.documents.fingerprints import FileChanging, fingerprint, inode_of
from agents.documents.opening import LIMIT_BYTES, FileGone

LIMIT_FILES = 100_000
LIMIT_HASHED_BYTES = 2 << 30  # what lies beyond it is told apart by size and time alone
# A file may change again within one tick of its file system's clock: so long its time says nothing.
FRESH_S = 2.0
_REMEMBERED_FILES = 20_000
_MARK_CHARS = 8  # of a name and of a content: enough for telling how many have changed


class Cancelled(Exception):
    """Nobody waits for the survey any more."""


class TooMany(Exception):
    """There is more to look at than anybody should, each time."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A path to look under, and the granted folder that it lies in, both without symbolic links."""

    path: Path
    root: Path


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One file, or one link, as the directory tells it."""

    path: Path
    root: Path
    size_bytes: int
    mtime_ns: int
    inode: int
    link: str | None = None  # where it leads; it is not followed

    @property
    def signature(self) -> tuple[int, int, int]:
        return self.size_bytes, self.mtime_ns, self.inode


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the files hold: a hash over all of it, and a short mark for each file, in the order of their paths."""

    digest: str
    marks: tuple[str, ...] = field(repr=False)


def sights_under(
    spots: Iterable[Spot], *, cancelled: threading.Event, limit_files: int = LIMIT_FILES
) -> list[Sight]:
    """All files under the spots, each once, by path. Raises OSError where something can't be looked at, TooMany and Cancelled."""
    seen: dict[Path, Sight] = {}
    for spot in spots:
        for sight in _sights(spot, cancelled):
            seen.setdefault(sight.path, sight)
            if len(seen) > limit_files:
                raise TooMany
    return [seen[path] for path in sorted(seen, key=os.fsencode)]


def quick_digest(sights: Sequence[Sight], *, now_ns: int) -> str | None:
    """Stands for names, sizes and times. None while one of the times is too fresh to stand for a content."""
    digest = hashlib.sha256()
    for sight in sights:
        if sight.mtime_ns > now_ns - FRESH_S * 1e9:
            return None
        digest.update(_framed(os.fsencode(sight.path), repr((sight.signature, sight.link)).encode()))
    return digest.hexdigest()


class ContentReader:
    """Reads what files hold, and remembers it for those that keep their size and time. May be used in several threads."""

    def __init__(self, *, limit_hashed_bytes: int = LIMIT_HASHED_BYTES) -> None:
        self._limit_bytes = limit_hashed_bytes
        self._remembered: OrderedDict[Path, tuple[tuple[int, int, int], str]] = OrderedDict()
        self._lock = threading.Lock()

    def contents_of(self, sights: Sequence[Sight], *, now_ns: int, cancelled: threading.Event) -> Contents:
        """Raises Cancelled."""
        left_bytes = self._limit_bytes
        digest, marks = hashlib.sha256(), []
        for sight in sights:
            if cancelled.is_set():
                raise Cancelled
            # By the files alone, not by what is remembered of them: the same files have the same hash after a restart.
            is_readable = sight.size_bytes <= left_bytes
            left_bytes -= sight.size_bytes if is_readable else 0
            identity = self._identity(sight, now_ns, cancelled) if is_readable else _by_time(sight)
            name = os.fsencode(sight.path)
            digest.update(_framed(name, identity.encode()))
            marks.append(_mark(name) + _mark(identity.encode()))
        return Contents(digest=digest.hexdigest(), marks=tuple(marks))

    def _identity(self, sight: Sight, now_ns: int, cancelled: threading.Event) -> str:
        with self._lock:
            signature, identity = self._remembered.get(sight.path, (None, None))
            if identity is not None and signature == sight.signature:
                self._remembered.move_to_end(sight.path)
                return identity
        identity = _read(sight, cancelled)
        if sight.mtime_ns <= now_ns - FRESH_S * 1e9:
            self._remember(sight, identity)
        return identity

    def _remember(self, sight: Sight, identity: str) -> None:
        with self._lock:
            self._remembered[sight.path] = (sight.signature, identity)
            self._remembered.move_to_end(sight.path)
            while len(self._remembered) > _REMEMBERED_FILES:
                self._remembered.popitem(last=False)


def changed_files(before: Sequence[str], after: Sequence[str]) -> int:
    """How many files are new, gone or different, by their marks."""
    names_before = {mark[:_MARK_CHARS]: mark for mark in before}
    names_after = {mark[:_MARK_CHARS]: mark for mark in after}
    names = names_before.keys() | names_after.keys()
    return sum(names_before.get(name) != names_after.get(name) for name in names)


def _sights(spot: Spot, cancelled: threading.Event) -> Iterator[Sight]:
    status = spot.path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        yield _sight(spot.path, spot.root, status)
        return
    folders = [spot.path]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if cancelled.is_set():
                    raise Cancelled
                if entry.name.startswith("."):
                    continue
                path = Path(entry.path)
                try:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    else:
                        yield _sight(path, spot.root, entry.stat(follow_symlinks=False))
                except FileNotFoundError:  # gone since the folder was listed
                    continue


def _sight(path: Path, root: Path, status: os.stat_result) -> Sight:
    return Sight(
        path=path,
        root=root,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=inode_of(status),
        link=str(path.readlink()) if stat.S_ISLNK(status.st_mode) else None,
    )


def _read(sight: Sight, cancelled: threading.Event) -> str:
    """What stands for the file's content: a hash, or size and time where it may not be read."""
    if sight.link is not None:
        return "link:" + hashlib.sha256(os.fsencode(sight.link)).hexdigest()
    try:
        return fingerprint(
            sight.path, sight.root, limit_bytes=max(sight.size_bytes, LIMIT_BYTES), cancelled=cancelled
        )[0]
    except FileGone:
        return "gone"
    except FileChanging:
        if cancelled.is_set():
            raise Cancelled from None
        return _by_time(sight)


def _by_time(sight: Sight) -> str:
    return f"{sight.size_bytes}:{sight.mtime_ns}"


def _mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_MARK_CHARS]


def _framed(*parts: bytes) -> bytes:
    """Parts that can't be mistaken for others put together."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
