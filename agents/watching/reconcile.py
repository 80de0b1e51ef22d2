"""Compares what is known of files with what a look at the disk found, and decides what to do with each; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agents.core import FileState
from agents.watching.rules import FolderRule
from agents.watching.settle import Settling, Signature, has_settled, observe


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A file as a look found it, with the rule that wants it."""

    path: Path
    signature: Signature
    rule: FolderRule


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do after a look. Paths that are in none of the fields have not changed."""

    due: tuple[Seen, ...] = field(repr=False)  # settled and perhaps new: to be fingerprinted, newest first
    settling: Mapping[Path, Settling] = field(repr=False)  # still changing, or `due` and not handled yet
    vanished: tuple[Path, ...] = field(repr=False)  # known and gone


def signature_of(state: FileState) -> Signature:
    return Signature(size_bytes=state.size_bytes, mtime_ns=state.mtime_ns, inode=state.inode)


def reconcile(
    *,
    known: Mapping[Path, FileState],
    settling: Mapping[Path, Settling],
    seen: Iterable[Seen],
    now_s: float,
    wall_ns: int | None,
    look_again: Callable[[FileState], bool],
    complete: bool,
) -> Plan:
    """Decides about the files of one look.

    `known` and `settling` hold what the look covered and nothing else: with `complete`, what is known and was not seen has vanished.
    With `wall_ns`, the time of day, a file's own age counts as rest. `look_again` says of an unchanged file
    that its version is worth reading all the same.
    """
    due: list[Seen] = []
    waiting: dict[Path, Settling] = {}
    found: set[Path] = set()
    for file in seen:
        found.add(file.path)
        state = known.get(file.path)
        if state is not None and signature_of(state) == file.signature:
            if look_again(state):
                due.append(file)
            continue
        age_s = None if wall_ns is None else (wall_ns - file.signature.mtime_ns) / 1e9
        rest = observe(
            settling.get(file.path), file.signature, now_s=now_s, settle_s=file.rule.settle_s, age_s=age_s
        )
        waiting[file.path] = rest
        if has_settled(rest, now_s=now_s):
            due.append(file)
    due.sort(key=lambda file: (-file.signature.mtime_ns, str(file.path)))
    vanished = tuple(path for path in known if path not in found) if complete else ()
    return Plan(due=tuple(due), settling=waiting, vanished=vanished)
