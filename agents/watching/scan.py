"""Looks at the disk for an agent: whole folders, or single paths that somebody hinted at.

Runs in: a worker thread. Symbolic links are not followed and hidden folders are not entered.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.documents.fingerprints import inode_of
from agents.watching.reconcile import Seen
from agents.watching.rules import FolderRule, wants_folder
from agents.watching.settle import Signature

LIMIT_FILES = 50_000  # of those that an agent wants; above it the rest of the folder is not watched
_ENTRIES_PER_FILE = 20  # other entries that are looked through for the sake of each such file


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found. `complete` means: what is not in `seen`, of all that the look covered, is not there."""

    seen: tuple[Seen, ...] = field(repr=False)
    covered: frozenset[Path] | None = field(repr=False)  # None: everything that the rules want
    complete: bool
    capped: bool = False


class _Full(Exception):
    """The limit is reached."""


def scan_folders(
    rules: Sequence[FolderRule], *, limit_files: int = LIMIT_FILES, cancelled: threading.Event | None = None
) -> Look:
    """Walks all folders, shallow ones first. A folder that can't be read makes the look incomplete."""
    seen: dict[Path, Seen] = {}
    budget = _Budget(limit_files, cancelled)
    complete = True
    try:
        for rule in rules:
            complete = _walk(rule, seen, budget) and complete
    except _Full:
        return Look(seen=tuple(seen.values()), covered=None, complete=False, capped=not budget.cancelled)
    return Look(seen=tuple(seen.values()), covered=None, complete=complete)


def look_at(paths: Iterable[Path], rules: Sequence[FolderRule]) -> Look:
    """Looks at single files. Only where it is certain that nothing is there, a path counts as covered and not seen."""
    seen: list[Seen] = []
    covered: set[Path] = set()
    for path in paths:
        rule = next((rule for rule in rules if rule.wants(path)), None)
        if rule is None:
            continue
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            covered.add(path)
        except OSError:
            continue
        else:
            covered.add(path)
            if stat.S_ISREG(status.st_mode):
                seen.append(_seen(path, status, rule))
    return Look(seen=tuple(seen), covered=frozenset(covered), complete=True)


class _Budget:
    """How much one look may still walk through."""

    def __init__(self, limit_files: int, cancelled: threading.Event | None) -> None:
        self._files = limit_files
        self._entries = limit_files * _ENTRIES_PER_FILE
        self._cancelled = cancelled

    @property
    def cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled.is_set()

    def spend_entry(self) -> None:
        self._entries -= 1
        if self._entries < 0 or self.cancelled:
            raise _Full

    def spend_file(self) -> None:
        if self._files == 0:
            raise _Full
        self._files -= 1


def _walk(rule: FolderRule, seen: dict[Path, Seen], budget: _Budget) -> bool:
    """Adds the rule's files to `seen`; False when some folder could not be read."""
    complete = True
    folders = deque([os.fspath(rule.folder)])
    while folders:
        try:
            with os.scandir(folders.popleft()) as entries:
                for entry in entries:
                    budget.spend_entry()
                    if entry.is_dir(follow_symlinks=False):
                        if rule.recursive and wants_folder(entry.name):
                            folders.append(entry.path)
                    elif rule.wants_name(entry.name):
                        complete = _add(entry, rule, seen, budget) and complete
        except OSError:
            complete = False
    return complete


def _add(entry: os.DirEntry[str], rule: FolderRule, seen: dict[Path, Seen], budget: _Budget) -> bool:
    path = Path(entry.path)
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # gone since the folder was listed
        return True
    except OSError:
        return False
    if stat.S_ISREG(status.st_mode) and path not in seen:
        budget.spend_file()
        seen[path] = _seen(path, status, rule)
    return True


def _seen(path: Path, status: os.stat_result, rule: FolderRule) -> Seen:
    signature = Signature(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=inode_of(status))
    return Seen(path=path, signature=signature, rule=rule)
