"""From a due time to its claim and its run: over a day of 1,000 agents on a leaping clock, and in one second on the real one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agents.bench.core import BenchFailed, Row, Scale, percentile
from agents.bench.homes import add_agents, new_home, spread_over_a_day
from agents.bench.leaping import LeapingClock
from agents.bench.ungated import NoGates
from agents.clock import Clock, SystemClock
from agents.core import Agent, AgentDefinition, NewResult, Occurrence, OccurrenceStatus, Run, RunStatus
from agents.events import EventBus
from agents.models.local import EnginePool
from agents.owner import this_process
from agents.paths import HomePaths
from agents.runs.context import RunContext
from agents.runs.manager import RunManager
from agents.scheduling.alarm import Alarm
from agents.scheduling.deciding import Claimed, Decider
from agents.scheduling.due_times import dues_between
from agents.scheduling.service import Scheduler
from agents.storage import Store
from agents.timetable import RunHouse
from agents.triggers import IntervalTrigger
from engine.builtin import built_in_model
from engine.supervisor import EngineSupervisor

START = datetime(2026, 3, 2, tzinfo=UTC)
MAX_S = 1.0
SHARE = 0.99
PAGE = 5_000
BURST_AFTER_S = 10.0
LIMIT_S = 180.0  # for whatever is waited for; it takes seconds


class _TimedDecider(Decider):
    """Notes when it was given what is claimed: then the claim is on the disk."""

    claimed_s: list[float]

    def take(self, claimed: Sequence[Claimed]) -> None:
        now = self._clock.now()
        self.claimed_s += [(now - item.occurrence.due_at).total_seconds() for item in claimed]
        super().take(claimed)


class _House:
    """A scheduler and the run manager on one store. Runs write one result and ask no model."""

    def __init__(self, paths: HomePaths, store: Store, clock: Clock) -> None:
        bus = EventBus(clock)
        pool = EnginePool(
            default=built_in_model(),
            make_engine=lambda spec: EngineSupervisor(  # never started: no run asks it anything
                model=spec, command=(), state_file=paths.engine_state, log_file=paths.engine_log
            ),
            on_status=lambda *_: None,
            clock=clock,
        )
        owner = this_process()
        self.store = store
        self.alarm = Alarm(clock=clock)
        self.runs = RunManager(
            store=store,
            engines=pool,
            bus=bus,
            owner=str(owner),
            workflow=_write_nothing,
            on_change=_ignore,
            on_store_trouble=lambda _: None,
            clock=clock,
        )
        self.decider = _TimedDecider(
            store=store.schedule,
            gates=NoGates(),
            house=RunHouse(self.runs),
            clock=clock,
            on_admitted=self._admitted,
            on_ended=_ignore,
        )
        self.decider.claimed_s = []
        self.scheduler = Scheduler(
            store=store.schedule,
            decider=self.decider,
            clock=clock,
            alarm=self.alarm,
            owner=owner,
            on_trouble=lambda _: None,
            jitter=random.Random(1).random,
        )

    async def _admitted(self, _: Run) -> None:
        self.runs.poke()

    async def unfinished(self) -> int:
        counts = await self.store.runs.counts()
        return counts.get(RunStatus.PENDING, 0) + counts.get(RunStatus.RUNNING, 0)


async def _ignore(*_: object) -> None:
    pass


async def _write_nothing(_: RunContext, definition: AgentDefinition) -> NewResult:
    return NewResult(title=definition.name, summary="Nothing.", action_items=(), category="text")


@asynccontextmanager
async def _living(paths: HomePaths, store: Store, clock: Clock) -> AsyncIterator[_House]:
    house = _House(paths, store, clock)
    house.alarm.start()
    await house.runs.start()
    house.scheduler.start(await store.agents.list())
    try:
        yield house
    finally:
        await house.scheduler.stop()
        await house.runs.stop()
        await house.alarm.stop()


async def measure_day(folder: Path, scale: Scale) -> list[Row]:
    """Leaps from one due time to the next, and waits there until everything that became due has ended."""
    clock = LeapingClock(START)
    async with new_home(folder, clock) as (paths, _, store):
        await add_agents(store, spread_over_a_day(scale.agents, scale.dues_per_day))
        async with _living(paths, store, clock) as house:
            armed = await _armed(house, scale.agents)
            began, end = clock.now(), START + timedelta(hours=scale.day_hours)
            while (due := await store.schedule.next_due()) is not None and due <= end:
                clock.leap_to(due)
                house.scheduler.poke()
                await _quiet(house, due)
        agents = await store.agents.list()
        rows = await _rows(store)
        runs = await _runs(store)
    wrong = _lost_or_doubled(agents, armed, runs, began, end)
    started_s = [(run.started_at - run.due_at).total_seconds() for run in runs if run.started_at]
    load = f"{scale.agents:,} agents, {len(rows):,} due times in {scale.day_hours:g} h"
    return [
        _latency(
            "due_to_claimed", f"from a due time to its claim, 99 of 100; {load}", house.decider.claimed_s
        ),
        _latency("due_to_started", f"from a due time to the start of its run, 99 of 100; {load}", started_s),
        Row(
            name="lost_or_doubled",
            meaning="due times without exactly one run that ended, or that were never due",
            unit="due times",
            samples=(float(wrong),),
            max_ours=0.0,
        ),
    ]


async def measure_burst(folder: Path, scale: Scale) -> list[Row]:
    """All agents in the same second of the real clock; how long the last of 100 waits for its claim."""
    clock = SystemClock()
    async with new_home(folder, clock) as (paths, _, store):
        # Intervals count from their arming, which is one moment for all agents of a start.
        await add_agents(store, [IntervalTrigger(every_s=BURST_AFTER_S)] * scale.burst)
        async with _living(paths, store, clock) as house:
            await _armed(house, scale.burst)
            await _burst_over(house, scale.burst)
    return [
        _latency(
            "burst_claimed",
            f"{scale.burst:,} agents due in the same second: until the claim",
            house.decider.claimed_s,
        )
    ]


async def _armed(house: _House, n_agents: int) -> dict[int, datetime]:
    """The first due time of each agent, once all of them have one."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            armed = await house.store.schedule.armed()
            if len(armed) >= n_agents:
                return {row.agent_id: row.due_at for row in armed}
            await asyncio.sleep(0.05)


async def _burst_over(house: _House, n_due: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            if len(house.decider.claimed_s) >= n_due:
                return
            await asyncio.sleep(1.0)


async def _quiet(house: _House, due: datetime) -> None:
    """Waits until whatever is due is claimed, decided on and ended."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            ahead = await house.store.schedule.next_due()
            if (
                (ahead is None or ahead > due)
                and not house.decider.n_waiting
                and not await house.unfinished()
            ):
                return
            await asyncio.sleep(0.002)


async def _rows(store: Store) -> list[Occurrence]:
    """All due times that came, of the whole ledger."""
    found: list[Occurrence] = []
    page = await store.schedule.list(limit=PAGE)
    while page:
        found += page
        page = await store.schedule.list(limit=PAGE, before=page[-1].id)
    return [row for row in found if row.status is not OccurrenceStatus.SCHEDULED]


async def _runs(store: Store) -> list[Run]:
    found: list[Run] = []
    page = await store.runs.list(limit=PAGE)
    while page:
        found += page
        page = await store.runs.list(limit=PAGE, before=page[-1].id)
    return found


def _lost_or_doubled(
    agents: Sequence[Agent],
    armed: Mapping[int, datetime],
    runs: Sequence[Run],
    began: datetime,
    end: datetime,
) -> int:
    """How many of (agent, due time) have another number of ended runs than they should."""
    should: Counter[tuple[int, datetime]] = Counter()
    for agent in agents:
        [trigger] = agent.definition.timed_triggers
        dues = dues_between(trigger, start=began, end=end, anchor=armed[agent.id], limit=PAGE)
        should.update((agent.id, due.at) for due in dues)
    did = Counter((run.agent_id, run.due_at) for run in runs if run.status is RunStatus.SUCCEEDED)
    return sum(abs(should[key] - did[key]) for key in should.keys() | did.keys())


def _latency(name: str, meaning: str, seconds: Sequence[float]) -> Row:
    if not seconds:
        raise BenchFailed(f"{name} could not be measured: nothing became due.")
    return Row(
        name=name,
        meaning=meaning,
        unit="s",
        samples=(percentile(seconds, SHARE),),
        max_ours=MAX_S,
        notes=(f"half within {percentile(seconds, 0.5):.3f} s, the slowest {max(seconds):.3f} s",),
    )
