"""One agent's watched folders: looks at them, waits for files to settle, and reports each new version once.

Runs in: the runtime's event loop; everything that touches the disk is sent to worker threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from agents.clock import Clock
from agents.core import Agent, FileState, NewOccurrence
from agents.definitions import folder_problem
from agents.documents.fingerprints import FileChanging, fingerprint, is_unread
from agents.documents.opening import FileGone
from agents.triggers import TriggerKind
from agents.watching.reconcile import Plan, Seen, reconcile, signature_of
from agents.watching.rules import FolderRule, rules_of
from agents.watching.scan import LIMIT_FILES, Look, look_at, scan_folders
from agents.watching.settle import Settling, has_settled, observe
from agents.watching.watcher import FolderWatcher

T = TypeVar("T")

OnOccurrence = Callable[[NewOccurrence, FileState], Awaitable[bool]]
"""Stores the occurrence with its run, and the file's state, in one transaction; False when the occurrence had been stored before.

It is called again for a version that it may have stored already (after a crash, or when a file went back to an older version).
"""


class FileStates(Protocol):
    """The part of the store that remembers files."""

    async def known(self, agent_id: int) -> dict[Path, FileState]: ...
    async def put(self, agent_id: int, state: FileState) -> None: ...
    async def forget(self, agent_id: int, path: Path) -> None: ...


class HandledRuns(Protocol):
    """The part of the store that remembers what was handled, and what could not be."""

    async def handled_elsewhere(self, agent_id: int, content_hash: str) -> list[Path]: ...
    async def lost_versions(self, agent_id: int) -> set[tuple[Path, str]]: ...


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
    on_notice: Callable[[str], None]
    on_unwatchable: Callable[[], None]  # a folder can only be looked at, since no notifications come from it
    home: Path
    limit_files: int = LIMIT_FILES
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """What the disk said at one look."""

    problem: str | None
    look: Look
    unwatchable: bool


class AgentWatch:
    """`problem` is why the agent can't work at the moment; it goes away by itself."""

    def __init__(self, agent: Agent, context: WatchContext) -> None:
        self.agent = agent
        self.problem: str | None = None
        self._context = context
        self._rules: tuple[FolderRule, ...] = tuple(rules_of(agent.definition))
        self._known: dict[Path, FileState] | None = None
        self._settling: dict[Path, Settling] = {}
        self._looking = asyncio.Lock()
        self._capped = False
        self.reported = 0  # new versions since the watch began
        if not self._rules:
            self.problem = "No folder is chosen; choose one for it to watch."

    def next_look_s(self) -> float | None:
        """Seconds until the first of the settling files may have settled; None when there is none."""
        if not self._settling:
            return None
        first_s = min(rest.settled_at_s for rest in self._settling.values())
        return max(0.0, first_s - self._context.clock.monotonic())

    async def look_at_all(self, *, trust_age: bool) -> None:
        """Scans all folders, and reports new versions.

        With `trust_age` a file that by its own time is old enough counts as settled at once.
        """
        if not self._rules:
            return
        async with self._looking:
            survey = await self._context.in_thread(self._survey)
            self.problem = survey.problem
            if survey.unwatchable:
                self._context.on_unwatchable()
            self._tell_if_capped(survey.look)
            await self._act_on(survey.look, trust_age=trust_age)

    async def look_at_hints(self) -> None:
        """Looks at what was hinted at and at what may have settled, and reports new versions."""
        hints = self._context.watcher.take(self.agent.id)
        if hints.everything:
            await self.look_at_all(trust_age=False)
            return
        async with self._looking:
            now_s = self._context.clock.monotonic()
            rested = {path for path, rest in self._settling.items() if has_settled(rest, now_s=now_s)}
            paths = hints.paths | rested
            if not paths:
                return
            look = await self._context.in_thread(lambda: look_at(paths, self._rules))
            await self._act_on(look, trust_age=False)

    def _survey(self) -> _Survey:
        """In a worker thread: the folders' state, then the watch on them, then the scan, so that nothing falls in between."""
        context = self._context
        folders = dict.fromkeys(
            (*(rule.folder for rule in self._rules), *(rule.root for rule in self._rules))
        )
        problems = {folder: folder_problem(folder, context.home) for folder in folders}
        usable = [rule for rule in self._rules if not problems[rule.folder] and not problems[rule.root]]
        unwatchable = context.watcher.arm(self.agent.id, usable)
        look = scan_folders(usable, limit_files=context.limit_files, cancelled=context.stopping)
        if len(usable) < len(self._rules):
            look = replace(look, complete=False)  # a folder on an unplugged disk keeps what is known of it
        problem = next((problem for problem in problems.values() if problem), None)
        return _Survey(problem=problem, look=look, unwatchable=bool(unwatchable))

    async def _act_on(self, look: Look, *, trust_age: bool) -> None:
        known = await self._load_known()
        lost = await self._context.store.runs.lost_versions(self.agent.id)
        clock = self._context.clock
        plan = reconcile(
            known=_covered(known, look),
            settling=_covered(self._settling, look),
            seen=look.seen,
            now_s=clock.monotonic(),
            wall_ns=int(clock.now().timestamp() * 1e9) if trust_age else None,
            look_again=lambda state: is_unread(state.content_hash) or _version_of(state) in lost,
            complete=look.complete,
        )
        self._take_settling(plan, look)
        for file in plan.due:
            await self._handle(file, known, lost)
        for path in plan.vanished:
            await self._context.store.files.forget(self.agent.id, path)
            known.pop(path, None)

    def _take_settling(self, plan: Plan, look: Look) -> None:
        gone = [path for path in _covered(self._settling, look) if path not in plan.settling]
        if look.complete:
            for path in gone:
                del self._settling[path]
        self._settling.update(plan.settling)

    async def _handle(
        self, file: Seen, known: dict[Path, FileState], lost: Collection[tuple[Path, str]]
    ) -> None:
        """Fingerprints one settled file, and reports it when it is a new version, or one that was gone and is back."""
        store, agent_id = self._context.store, self.agent.id
        state = await self._identify(file)
        if state is None:
            return
        before = known.get(file.path)
        is_back = _version_of(state) in lost
        same = before is not None and before.content_hash == state.content_hash and not is_back
        if same or ((before is None or is_back) and await self._was_renamed(state)):
            if state != before:
                await store.files.put(agent_id, state)
        else:
            occurrence = NewOccurrence(
                agent_id=agent_id,
                trigger=TriggerKind.FILE_CHANGED,
                key=f"file:{state.path}:{state.content_hash}",
                due_at=self._context.clock.now(),
                path=state.path,
                content_hash=state.content_hash,
                size_bytes=state.size_bytes,
            )
            self.reported += await self._context.on_occurrence(occurrence, state)
        known[state.path] = state
        self._settling.pop(state.path, None)

    async def _identify(self, file: Seen) -> FileState | None:
        """The state of the very version that was seen to settle; None when the file is moving again."""
        try:
            _, state = await self._context.in_thread(
                lambda: fingerprint(file.path, file.rule.root, cancelled=self._context.stopping)
            )
        except FileGone:
            self._settling.pop(file.path, None)
            return None
        except FileChanging:
            state = None
        if state is not None and signature_of(state) == file.signature:
            return state
        signature = file.signature if state is None else signature_of(state)
        now_s = self._context.clock.monotonic()
        self._settling[file.path] = observe(None, signature, now_s=now_s, settle_s=file.rule.settle_s)
        return None

    async def _was_renamed(self, state: FileState) -> bool:
        """Whether this content was handled under a name that nothing bears any more."""
        handled = await self._context.store.runs.handled_elsewhere(self.agent.id, state.content_hash)
        others = [path for path in handled if path != state.path]
        if not others:
            return False
        return await self._context.in_thread(lambda: any(_is_gone(path) for path in others))

    async def _load_known(self) -> dict[Path, FileState]:
        if self._known is None:
            self._known = await self._context.store.files.known(self.agent.id)
        return self._known

    def _tell_if_capped(self, look: Look) -> None:
        if look.capped and not self._capped:
            self._context.on_notice(
                f"{self.agent.name} watches only the first {self._context.limit_files:,} files of its folders; "
                "choose smaller folders."
            )
        self._capped = look.capped


V = TypeVar("V")


def _version_of(state: FileState) -> tuple[Path, str]:
    return state.path, state.content_hash


def _covered(values: Mapping[Path, V], look: Look) -> Mapping[Path, V]:
    if look.covered is None:
        return values
    return {path: values[path] for path in look.covered if path in values}


def _is_gone(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
