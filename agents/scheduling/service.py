"""Claims due times as they come, all of them, each once; what was not there in time is shown as missed.

Runs in: the runtime's event loop. One task: it wakes at the next due time, when poked, and at least every `look_s`. What becomes of
a claimed due time is decided beside it (deciding.py), so that nothing slow holds up the next claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from agents.clock import Clock
from agents.core import Agent, FileState, HeldBy, NewOccurrence, Occurrence, Owner
from agents.errors import NotFound, StoreProblem
from agents.scheduling.alarm import Alarm
from agents.scheduling.arming import TIMED, Arming
from agents.scheduling.deciding import Claimed, Decider
from agents.scheduling.heartbeat import Heartbeat
from agents.scheduling.misfire import GRACE
from agents.scheduling.plan import gap
from agents.scheduling.ports import DueTimes
from agents.triggers import Trigger, TriggerKind, trigger_key

LOOK_S = 15.0
RECONCILE_S = 300.0  # how often the future rows are compared with the agents even if nothing has changed
BATCH = 200  # rows claimed in one transaction
LIMIT = 20_000  # due rows of one look
MIN_WAIT_S = 0.02
BUSY_WAIT_S = 1.0  # before due rows are looked at again that could not be claimed
CLOCK_STEP_S = 2.0  # the wall clock went back by more than that
STAGGER_S = 5.0  # between runs that are caught up on
JITTER_S = 2.0
RESTART_WAIT_S = 5.0

log = logging.getLogger(__name__)


class Scheduler:
    """`start` it once; `set_agents` tells it what to arm, and whatever is due is claimed and decided."""

    def __init__(
        self,
        *,
        store: DueTimes,
        decider: Decider,
        clock: Clock,
        alarm: Alarm,
        owner: Owner,
        on_trouble: Callable[[str | None], None],
        zone: tzinfo = UTC,
        look_s: float = LOOK_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`on_trouble` is told why due times can't be claimed, in one sentence, and None once they can be again.

        `zone` is the user's, for sentences about what passed.
        """
        self._store = store
        self._decider = decider
        self._clock = clock
        self._alarm = alarm
        self._owner = owner
        self._on_trouble = on_trouble
        self._zone = zone
        self._look_s = look_s
        self._jitter = jitter
        self._arming = Arming(store)
        self._changing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._recovered = False
        self._dirty = True  # the future rows may not be what they should
        self._replan = True  # and some may lie too far ahead, if the clock was set back while nobody looked
        self._released: set[HeldBy | None] = (
            set()
        )  # what need not be waited for any longer, None for all of it
        self._reconciled_s = 0.0
        self._offset_s: float | None = None
        self._last_tick: datetime | None = None
        self._latest: datetime | None = None  # that the clock ever showed
        self._next_due: datetime | None = None
        self._trouble: str | None = None
        self.heartbeat = Heartbeat()

    @property
    def last_tick(self) -> datetime | None:
        """When due times were last looked at, to the end and without trouble."""
        return self._last_tick

    @property
    def next_due(self) -> datetime | None:
        """The earliest due time that is armed, as of the last look."""
        return self._next_due

    @property
    def trouble(self) -> str | None:
        """Why due times can't be claimed at the moment."""
        return self._trouble

    def start(self, agents: Sequence[Agent]) -> None:
        """Begins to look. A ledger that can't be written now holds up no start: its turn comes at the first look that can."""
        self._arming.set_agents(agents)
        self._offset_s = self._wall_minus_monotonic_s()
        self._begin()

    async def stop(self) -> None:
        """Claims nothing more; what is claimed and not decided is taken back by the next start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._decider.stop()

    async def restart(self) -> None:
        """Begins anew with the same agents, also when the old task hangs: for the watchdog."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            _, hanging = await asyncio.wait([task], timeout=RESTART_WAIT_S)
            if hanging:
                log.error("the scheduler's task does not end; it is left behind")
                self._changing = asyncio.Lock()
        await self._decider.stop()
        self._decider.retry()
        self._recovered = False  # what the old task claimed, and could not hand over, belongs to nobody
        self._dirty = True
        self._begin()

    def poke(self) -> None:
        """Something may be due."""
        self._wake.set()

    def release(self, held_by: HeldBy) -> None:
        """This may hold nothing up any longer: what waits for it is looked at at once."""
        self._released.add(held_by)
        self.poke()

    async def set_agents(self, agents: Sequence[Agent]) -> None:
        """Arms these agents, as they are now, and no others. On return their next due times are on the disk."""
        async with self._changing:
            before = {agent.id: agent.revision_id for agent in self._arming.agents.values()}
            self._arming.set_agents(agents)
            self._decider.set_agents(agents)
            self._dirty = True
            for agent in self._arming.agents.values():
                if before.get(agent.id) != agent.revision_id:  # its gates and limits may be others now
                    await self._store.release(agent_id=agent.id)
            await self._reconcile(self._clock.now())
        self.poke()

    async def announce(
        self,
        new: NewOccurrence,
        *,
        file_states: Sequence[FileState] = (),
        files: Sequence[tuple[Path, str, int]] = (),
    ) -> Occurrence | None:
        """Stores something that is due now, and claims it soon; None when that key was there before."""
        made = await self._store.announce(new, file_states=file_states, files=files)
        if made is not None:
            self.poke()
        return made

    async def happened(
        self, kind: TriggerKind, mark: str, *, where: Callable[[Trigger], bool] = lambda _: True
    ) -> list[Occurrence]:
        """Announces `kind` for each trigger that waits for it; `mark` names this one time that it happened."""
        now = self._clock.now()
        rows = [
            NewOccurrence(
                agent_id=agent.id,
                trigger=kind,
                trigger_key=trigger_key(trigger),
                key=f"{trigger_key(trigger)}:{mark}",
                due_at=now,
            )
            for agent in self._arming.agents.values()
            for trigger in agent.definition.triggers
            if trigger.on is kind and where(trigger)
        ]
        made = []
        for row in rows:
            with contextlib.suppress(NotFound):  # its agent has just been removed; others wait for it too
                made.append(await self.announce(row))
        return [row for row in made if row is not None]

    async def next_due_of(self, agent_id: int) -> datetime | None:
        """The agent's next due time as it stands in the ledger."""
        armed = await self._store.armed(agent_id)
        return min((row.due_at for row in armed if row.trigger in TIMED), default=None)

    async def after_gap(self, reason: str) -> None:
        """The machine slept, or its clock was set: everything is looked at anew."""
        log.info("looking at all due times anew: %s", reason)
        self._dirty = self._replan = True
        self._released.add(None)
        self.poke()

    # --- the task --------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name="scheduler")

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            wait_s = self._look_s
            try:
                async with self._changing:
                    wait_s = await self._look()
                self._tell(self._decider.problem)
            except StoreProblem as problem:
                log.error("due times can't be claimed: %s", problem.code)
                self._tell(str(problem))
            except Exception:
                log.exception("due times could not be looked at")  # the next look tries again
            self.heartbeat.beat()
            cancel = self._alarm.after(wait_s, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                cancel()

    async def _look(self) -> float:
        """Claims whatever is due and returns in how many seconds to look again."""
        now = self._clock.now()
        self._notice_clock()
        await self._recover()
        await self._open()
        self._decider.retry()
        await self._release_held()
        if self._dirty or self._clock.monotonic() - self._reconciled_s > RECONCILE_S:
            await self._reconcile(now)
        claimed = await self._claim_due(now)
        self._latest = max(now, self._latest or now)
        if claimed and now < self._latest:  # the next due time may have come before the clock was set back
            await self._reconcile(now)
        self._last_tick = now
        self._next_due = await self._store.next_due()
        if self._next_due is None:
            return self._look_s
        wait_s = (self._next_due - self._clock.now()).total_seconds()
        least_s = MIN_WAIT_S if claimed or wait_s > 0 else BUSY_WAIT_S
        return max(least_s, min(wait_s, self._look_s))

    async def _recover(self) -> None:
        """At the start, and after a restart: takes back what is claimed and in nobody's hands."""
        if self._recovered:
            return
        freed = await self._store.recover(self._owner, in_hand=self._decider.in_hand)
        if freed:
            log.info("%d due times go on after an unclean end", len(freed))
        self._recovered = True

    async def _open(self) -> None:
        """Once: announces the start."""
        if self._opened:
            return
        await self.happened(TriggerKind.START, str(self._owner))
        self._released.add(None)
        self._opened = True

    async def _release_held(self) -> None:
        for held_by in list(self._released):
            await self._store.release(held_by=held_by)
            self._released.discard(held_by)

    async def _reconcile(self, now: datetime) -> None:
        replan = self._replan
        self._dirty = self._replan = False  # before it: what comes up meanwhile asks for another one
        try:
            is_done = await self._arming.reconcile(now, replan=replan)
        except BaseException:
            self._dirty, self._replan = True, self._replan or replan
            raise
        self._dirty = self._dirty or not is_done
        self._reconciled_s = self._clock.monotonic()

    def _notice_clock(self) -> None:
        """A clock that went back leaves rows too far ahead, and waits that are too long. One that went forward needs nothing: what it passed is late."""
        offset_s = self._wall_minus_monotonic_s()
        if self._offset_s is not None and offset_s < self._offset_s - CLOCK_STEP_S:
            log.info("the clock was set back by %.0f s", self._offset_s - offset_s)
            self._dirty = self._replan = True
            self._released.add(None)
        self._offset_s = offset_s

    async def _claim_due(self, now: datetime) -> int:
        rows, missed = await self._due(now)
        n_claimed = n_caught_up = 0
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            taken = await self._store.claim(
                [row.id for row in batch], owner=self._owner, plan=self._arming.after(batch, now)
            )
            self.heartbeat.beat()
            n_claimed += len(taken)
            work = []
            for row in taken:
                late = row.trigger in TIMED and now - row.due_at > GRACE and row.id not in missed
                work.append(
                    Claimed(
                        occurrence=row,
                        agent=self._arming.agents[row.agent_id],
                        not_before=self._staggered(now, n_caught_up) if late else None,
                        missed=missed.get(row.id),
                    )
                )
                n_caught_up += late
            self._decider.take(work)
        return n_claimed

    async def _due(self, now: datetime) -> tuple[list[Occurrence], Mapping[int, str]]:
        """What is due, after what nobody was there for has got its rows; and why some of it is too late to run."""
        rows = await self._known_due(now)
        passed = self._arming.passed(rows, now)
        if not passed:
            return rows, {}
        owners = {row.agent_id for row in passed}
        agents = [agent for agent in self._arming.agents.values() if agent.id in owners]
        found = gap(agents, passed, now=now, zone=self._zone)
        for start in range(0, len(found.missed), BATCH):
            await self._store.record_missed(found.missed[start : start + BATCH])
            self.heartbeat.beat()
        await self._store.plan(found.run)
        return await self._known_due(now), found.known_missed

    async def _known_due(self, now: datetime) -> list[Occurrence]:
        rows = await self._store.due(now, limit=LIMIT)
        return [row for row in rows if row.agent_id in self._arming.agents]

    def _staggered(self, now: datetime, index: int) -> datetime:
        return now + timedelta(seconds=index * STAGGER_S + self._jitter() * JITTER_S)

    def _tell(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            with contextlib.suppress(Exception):  # whoever is told must not stop the scheduler
                self._on_trouble(trouble)

    def _wall_minus_monotonic_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
