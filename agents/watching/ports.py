"""What the watching of folders needs of others: what is known of files, what was handled, and who is told of new versions."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from agents.clock import Clock
from agents.core import FileState, NewOccurrence
from agents.watching.scan import LIMIT_FILES
from agents.watching.watcher import FolderWatcher

T = TypeVar("T")

OnOccurrence = Callable[[NewOccurrence, FileState], Awaitable[bool]]
"""Stores the occurrence with its run, and the file's state, in one transaction; False when the occurrence had been stored before.

It is called again for a version that it may have stored already (after a crash, or when a file went back to an older version).
"""

OnStorm = Callable[[NewOccurrence, Sequence[FileState]], Awaitable[bool]]
"""The same for many new versions that become one occurrence, which names no file: all states are stored with it."""


class FileStates(Protocol):
    """The part of the store that remembers files."""

    async def known(self, agent_id: int) -> dict[Path, FileState]: ...
    async def put(self, agent_id: int, state: FileState) -> None: ...
    async def forget(self, agent_id: int, path: Path) -> None: ...


class HandledRuns(Protocol):
    """The part of the store that remembers what was handled, what could not be, and what the agent wrote itself."""

    async def handled_elsewhere(self, agent_id: int, content_hash: str) -> list[Path]: ...
    async def lost_versions(self, agent_id: int) -> set[tuple[Path, str]]: ...
    async def own_files(self, agent_id: int) -> set[tuple[Path, str]]: ...


class WatchStore(Protocol):
    """What the watching of folders needs of the store."""

    @property
    def files(self) -> FileStates: ...
    @property
    def runs(self) -> HandledRuns: ...


class RunInThread(Protocol):
    """Calls a blocking function in a worker thread, and returns only when it has ended, also when cancelled."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


@dataclass(frozen=True, kw_only=True)
class WatchContext:
    """What all agents' watches share."""

    store: WatchStore
    clock: Clock
    watcher: FolderWatcher
    in_thread: RunInThread
    on_occurrence: OnOccurrence
    on_storm: OnStorm
    on_notice: Callable[[str], None]
    on_unwatchable: Callable[[], None]  # a folder can only be looked at, since no notifications come from it
    home: Path
    limit_files: int = LIMIT_FILES
    stopping: threading.Event = field(default_factory=threading.Event)
