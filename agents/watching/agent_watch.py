"""One agent's watched folders: looks at them, waits for files to settle, and reports each new version once.

Runs in: the runtime's event loop; everything that touches the disk is sent to worker threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from agents.core import Agent, FileState
from agents.definitions import folder_problem
from agents.documents.fingerprints import FileChanging, fingerprint, is_unread
from agents.documents.opening import FileGone
from agents.watching.own_files import OwnFiles, is_gone
from agents.watching.ports import WatchContext
from agents.watching.reconcile import Plan, Seen, reconcile, signature_of
from agents.watching.rules import FolderRule, rules_of
from agents.watching.scan import Look, look_at, scan_folders
from agents.watching.settle import Settling, has_settled, observe
from agents.watching.storms import Bursts, by_trigger, occurrence_of, storm_of, version_of


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
        self._bursts = Bursts()
        self._in_storm = False
        self.reported = 0  # new versions since the watch began
        if not self._rules:
            self.problem = "No folder is chosen; choose one for it to watch."

    def next_look_s(self) -> float | None:
        """Seconds until the first of the settling files may have settled; None when there is none.

        While a burst is waited for, it is its end: until the last of them may have settled, or that has taken too long.
        """
        if not self._settling:
            return None
        now_s = self._context.clock.monotonic()
        times = [rest.settled_at_s for rest in self._settling.values()]
        limit_s = self._bursts.limit_s
        next_s = min(times) if limit_s is None or limit_s <= now_s else min(max(times), limit_s)
        return max(0.0, next_s - now_s)

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
            look_again=lambda state: is_unread(state.content_hash) or version_of(state) in lost,
            complete=look.complete,
        )
        self._take_settling(plan, look)
        self._bursts.keep({file.rule.trigger_key for file in plan.due})
        if plan.due:
            await self._report(plan.due, known, lost, may_wait=not trust_age)
        for path in plan.vanished:
            await self._context.store.files.forget(self.agent.id, path)
            known.pop(path, None)

    def _take_settling(self, plan: Plan, look: Look) -> None:
        gone = [path for path in _covered(self._settling, look) if path not in plan.settling]
        if look.complete:
            for path in gone:
                del self._settling[path]
        self._settling.update(plan.settling)

    async def _report(
        self,
        due: Collection[Seen],
        known: dict[Path, FileState],
        lost: Collection[tuple[Path, str]],
        *,
        may_wait: bool,
    ) -> None:
        """Reports what is new among settled files: each by itself, or very many of one trigger together.

        With `may_wait` a burst that is still going on is left for a later look, so that it becomes one storm and not many.
        """
        now_s = self._context.clock.monotonic()
        moving = sum(not has_settled(rest, now_s=now_s) for rest in self._settling.values())
        own = OwnFiles(await self._context.store.runs.own_files(self.agent.id))
        for rule, files in by_trigger(due):
            if may_wait and self._bursts.goes_on(rule, n_due=len(files), n_moving=moving, now_s=now_s):
                continue
            self._bursts.over(rule)
            if len(files) <= rule.storm_files:
                for file in files:
                    state = await self._new_version(file, known, lost, own)
                    if state is not None:
                        await self._tell(rule, [state], known)
            else:
                states = [await self._new_version(file, known, lost, own) for file in files]
                await self._tell(rule, [state for state in states if state is not None], known)

    async def _new_version(
        self, file: Seen, known: dict[Path, FileState], lost: Collection[tuple[Path, str]], own: OwnFiles
    ) -> FileState | None:
        """Fingerprints one settled file: its state when it is a new version, or one that was gone and is back."""
        state = await self._identify(file)
        if state is None:
            return None
        before = known.get(file.path)
        is_back = version_of(state) in lost
        same = before is not None and before.content_hash == state.content_hash and not is_back
        renamed = not same and (before is None or is_back) and await self._was_renamed(state)
        if not same and not renamed and not await self._is_own(state, own):
            return state
        if state != before:
            await self._context.store.files.put(self.agent.id, state)
        self._know(state, known)
        return None

    async def _tell(self, rule: FolderRule, states: list[FileState], known: dict[Path, FileState]) -> None:
        """New versions of one trigger become occurrences, or one occurrence."""
        due_at = self._context.clock.now()
        if len(states) > rule.storm_files:
            if await self._context.on_storm(storm_of(self.agent.id, rule, states, due_at=due_at), states):
                self.reported += len(states)
                self._tell_storm(len(states))
            for state in states:
                self._know(state, known)
            return
        self._in_storm = self._in_storm and not states
        for state in states:
            occurrence = occurrence_of(self.agent.id, rule, state, due_at=due_at)
            self.reported += await self._context.on_occurrence(occurrence, state)
            self._know(state, known)

    def _know(self, state: FileState, known: dict[Path, FileState]) -> None:
        known[state.path] = state
        self._settling.pop(state.path, None)

    async def _is_own(self, state: FileState, own: OwnFiles) -> bool:
        """Whether the agent wrote that version itself: it never wakes itself."""
        return own.may_hold(state) and await self._context.in_thread(lambda: own.holds(state))

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
        return await self._context.in_thread(lambda: any(is_gone(path) for path in others))

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

    def _tell_storm(self, count: int) -> None:
        """Once for each storm, also when it came in several parts."""
        if not self._in_storm:
            self._context.on_notice(
                f"{count:,} new files came at once to the folders of {self.agent.name}, so one run tells about all of them; "
                "run it with a file to have that one read, or raise storm_files in its trigger."
            )
        self._in_storm = True


V = TypeVar("V")


def _covered(values: Mapping[Path, V], look: Look) -> Mapping[Path, V]:
    if look.covered is None:
        return values
    return {path: values[path] for path in look.covered if path in values}
