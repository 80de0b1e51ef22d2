"""Hints that files may have changed, from the system's own notifications. They can be lost or wrong: the scan decides.

Runs in: watchdog's threads deliver; `arm`, `disarm` and `stop` block and belong in a worker thread; `take` may be called anywhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from agents.watching.rules import FolderRule

MAX_PATHS = 2_000  # hints on more files than these become one: look at everything
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What may have changed since the last time somebody took them."""

    paths: frozenset[Path] = frozenset()
    everything: bool = False


@dataclass(kw_only=True)
class _Pending:
    paths: set[Path] = field(default_factory=set)
    everything: bool = False


class FolderWatcher:
    """Watches the folders of all agents with one observer. `on_hint(agent_id)` is called, in a watchdog thread, when the first
    hint for an agent arrives, and not again before its hints are taken."""

    def __init__(
        self, *, on_hint: Callable[[int], None], make_observer: Callable[[], BaseObserver] = Observer
    ) -> None:
        self._on_hint = on_hint
        self._make_observer = make_observer
        self._observer: BaseObserver | None = None
        self._watches: dict[tuple[str, bool], _WatchedFolder] = {}
        self._arming = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._pending_lock = threading.Lock()

    def arm(self, agent_id: int, rules: Sequence[FolderRule]) -> list[Path]:
        """Sees to it that the rules' folders, as they are on the disk now, are watched for the agent, and no others.

        Call it again whenever a folder may have been replaced. Returns the folders that are there but can't be watched: the system's
        limit is reached, or the filesystem does not know of notifications.
        """
        with self._arming:
            wanted = {(os.path.realpath(rule.folder), rule.recursive): rule.folder for rule in rules}
            self._drop(agent_id, keep=wanted.keys())
            return [folder for key, folder in wanted.items() if not self._subscribe(agent_id, key, folder)]

    def disarm(self, agent_id: int) -> None:
        with self._arming:
            self._drop(agent_id, keep=())
        with self._pending_lock:
            self._pending.pop(agent_id, None)

    def take(self, agent_id: int) -> Hints:
        with self._pending_lock:
            pending = self._pending.pop(agent_id, None)
        if pending is None:
            return Hints()
        return Hints(paths=frozenset(pending.paths), everything=pending.everything)

    def stop(self) -> None:
        """Ends all threads of the observer."""
        with self._arming:
            self._watches.clear()
            if self._observer is not None:
                self._observer.stop()
                self._observer.join()
                self._observer = None

    def hint(self, agent_ids: Iterable[int], paths: Sequence[Path] | None) -> None:
        """Notes that `paths`, or anything when None, may have changed."""
        first: list[int] = []
        with self._pending_lock:
            for agent_id in agent_ids:
                if agent_id not in self._pending:
                    self._pending[agent_id] = _Pending()
                    first.append(agent_id)
                pending = self._pending[agent_id]
                if not pending.everything:
                    pending.paths.update(paths or ())
                    if paths is None or len(pending.paths) > MAX_PATHS:
                        pending.everything = True
                        pending.paths.clear()
        for agent_id in first:
            self._on_hint(agent_id)

    def _subscribe(self, agent_id: int, key: tuple[str, bool], folder: Path) -> bool:
        identity = _identity(key[0])
        watched = self._watches.get(key)
        others: Mapping[int, Path] = {}
        if watched is not None and (watched.identity != identity or not self._is_alive(watched)):
            others = watched.subscribers
            self._unschedule(key)  # another folder stands there now, or watchdog gave up
            watched = None
        if identity is None:
            return True  # it is not there: there is nothing to watch, and the scan will say so
        if watched is None:
            watched = self._schedule(key, identity)
            if watched is None:
                return False
            watched.subscribers = others
        # A new dict each time: watchdog's threads read the old one meanwhile.
        watched.subscribers = {**watched.subscribers, agent_id: folder}
        return True

    def _schedule(self, key: tuple[str, bool], identity: tuple[int, int]) -> _WatchedFolder | None:
        path, recursive = key
        watched = _WatchedFolder(path, identity, self.hint)
        try:
            if self._observer is None:
                observer = self._make_observer()
                observer.start()
                self._observer = observer
            watched.watch = self._observer.schedule(watched, path, recursive=recursive, event_filter=_EVENTS)
        except (OSError, RuntimeError):  # no watch, no descriptor or no thread is to be had
            return None
        self._watches[key] = watched
        return watched

    def _drop(self, agent_id: int, *, keep: Iterable[tuple[str, bool]]) -> None:
        kept = set(keep)
        for key, watched in list(self._watches.items()):
            if key not in kept and agent_id in watched.subscribers:
                watched.subscribers = {k: v for k, v in watched.subscribers.items() if k != agent_id}
                if not watched.subscribers:
                    self._unschedule(key)

    def _unschedule(self, key: tuple[str, bool]) -> None:
        watched = self._watches.pop(key)
        if self._observer is not None and watched.watch is not None:
            with contextlib.suppress(KeyError, OSError):  # watchdog has dropped it by itself
                self._observer.unschedule(watched.watch)

    def _is_alive(self, watched: _WatchedFolder) -> bool:
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        return any(emitter.watch == watched.watch and emitter.is_alive() for emitter in observer.emitters)


class _WatchedFolder(FileSystemEventHandler):
    """One folder as the system knows it, and the agents that named it, each perhaps by another path."""

    def __init__(
        self,
        path: str,
        identity: tuple[int, int],
        hint: Callable[[Iterable[int], Sequence[Path] | None], None],
    ) -> None:
        self.identity = identity
        self.watch: ObservedWatch | None = None
        self.subscribers: Mapping[int, Path] = {}
        self._prefix = path.rstrip(os.sep) + os.sep
        self._hint = hint

    def dispatch(self, event: FileSystemEvent) -> None:
        subscribers = self.subscribers
        if event.is_directory:
            self._hint(subscribers, None)
            return
        inside = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        names = [path.removeprefix(self._prefix) for path in inside if path.startswith(self._prefix)]
        for agent_id, folder in subscribers.items():
            self._hint((agent_id,), [folder / name for name in names])


def _identity(path: str) -> tuple[int, int] | None:
    """Tells a folder from another one that has taken its place; None when there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
