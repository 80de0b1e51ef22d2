"""When very many files come at once: how long their end is waited for, and what they become; pure. Times are monotonic seconds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path

from agents.core import FileState, NewOccurrence
from agents.triggers import TriggerKind
from agents.watching.reconcile import Seen
from agents.watching.rules import FolderRule

WAIT_S = 30.0  # for a burst to end; what has come until then is told, and the rest is another storm


class Bursts:
    """Which triggers' files are waited for, and since when."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    @property
    def limit_s(self) -> float | None:
        """When the first of the bursts has been waited for long enough; None with nothing to wait for."""
        return min(self._since_s.values()) + WAIT_S if self._since_s else None

    def goes_on(self, rule: FolderRule, *, n_due: int, n_moving: int, now_s: float) -> bool:
        """Whether to wait: there are too many files to tell each by itself, and some of them have not settled yet."""
        if n_moving == 0 or n_due + n_moving <= rule.storm_files:
            return False
        return now_s < self._since_s.setdefault(rule.trigger_key, now_s) + WAIT_S

    def keep(self, trigger_keys: Collection[str]) -> None:
        """Those of other triggers are over: their files have gone before they were told."""
        self._since_s = {key: since_s for key, since_s in self._since_s.items() if key in trigger_keys}

    def over(self, rule: FolderRule) -> None:
        self._since_s.pop(rule.trigger_key, None)


def by_trigger(files: Iterable[Seen]) -> Collection[tuple[FolderRule, list[Seen]]]:
    """The files of each trigger in their order, with one of its rules."""
    groups: dict[str, tuple[FolderRule, list[Seen]]] = {}
    for file in files:
        groups.setdefault(file.rule.trigger_key, (file.rule, []))[1].append(file)
    return groups.values()


def version_of(state: FileState) -> tuple[Path, str]:
    return state.path, state.content_hash


def occurrence_of(agent_id: int, rule: FolderRule, state: FileState, *, due_at: datetime) -> NewOccurrence:
    """One new version of one file."""
    return NewOccurrence(
        agent_id=agent_id,
        trigger=TriggerKind.FILE_CHANGED,
        trigger_key=rule.trigger_key,
        key=f"file:{state.path}:{state.content_hash}",
        due_at=due_at,
        path=state.path,
        content_hash=state.content_hash,
        size_bytes=state.size_bytes,
    )


def storm_of(
    agent_id: int, rule: FolderRule, states: Iterable[FileState], *, due_at: datetime
) -> NewOccurrence:
    """Many new versions as one occurrence; the same versions have the same key, in whichever order they were found."""
    digest = hashlib.sha256()
    for path, content_hash in sorted((os.fsencode(state.path), state.content_hash) for state in states):
        digest.update(len(path).to_bytes(8, "big") + path + content_hash.encode() + b"\n")
    return NewOccurrence(
        agent_id=agent_id,
        trigger=TriggerKind.FILE_CHANGED,
        trigger_key=rule.trigger_key,
        key=f"storm:{digest.hexdigest()}",
        due_at=due_at,
    )
