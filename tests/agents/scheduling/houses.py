"""A scheduler on a real ledger, with a clock that is moved by hand and gates that say what a test wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from agents.core import (
    Agent,
    AgentDefinition,
    AgentKind,
    GateOutcome,
    Occurrence,
    OccurrenceStatus,
    Owner,
    Run,
)
from agents.policies import Budget, Overlap, OverlapPolicy, RunPolicy
from agents.scheduling.alarm import Alarm
from agents.scheduling.deciding import Decider
from agents.scheduling.service import Scheduler
from agents.storage import Store
from agents.triggers import CronTrigger, Gate, HoursGate, IntervalTrigger, Trigger, gate_key
from tests.agents.conftest import FakeClock

OWNER = Owner(pid=1, started_at="now", boot_id="here")
ALWAYS = HoursGate(start=datetime.min.time(), end=datetime.max.time(), zone="UTC")


def every(seconds: float) -> IntervalTrigger:
    return IntervalTrigger(every_s=seconds)


def cron(schedule: str, zone: str = "UTC") -> CronTrigger:
    return CronTrigger(schedule=schedule, zone=zone)


# No run ends here, so with the default all times after the first would be skipped.
WAITS = Overlap(policy=OverlapPolicy.QUEUE)


def definition(
    *triggers: Trigger, name: str = "Writer", policy: RunPolicy | None = None, gates: tuple[Gate, ...] = ()
) -> AgentDefinition:
    return AgentDefinition(
        name=name,
        description="Writes.",
        kind=AgentKind.WRITE,
        triggers=triggers,
        read_folders=(Path("/tmp"),),
        gates=gates,
        policy=policy or RunPolicy(overlap=WAITS),
    )


class ScriptedGates:
    """One gate per agent that is open or closed, slow or broken, as told."""

    def __init__(self) -> None:
        self.is_open = True
        self.hold: dict[str, asyncio.Event] = {}  # by the agent's name: it answers once this is set
        self.fails_for: str | None = None
        self.asked: Counter[str] = Counter()

    async def check(self, agent: Agent, states: Mapping[str, str]) -> list[GateOutcome]:
        self.asked[agent.name] += 1
        if agent.name in self.hold:
            await self.hold[agent.name].wait()
        if agent.name == self.fails_for:
            raise ZeroDivisionError
        [gate] = agent.definition.gates
        return [
            GateOutcome(
                gate=gate.check,
                key=gate_key(gate),
                is_open=self.is_open,
                detail="it is open" if self.is_open else "it is closed",
                state="seen",
            )
        ]


class ScriptedHouse:
    """The stop switch, the budget of the house, and who was asked to make room."""

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self.house_budget = Budget()
        self.replaced: list[int] = []

    async def stopped(self) -> str | None:
        return self.stop_reason

    async def budget(self) -> Budget:
        return self.house_budget

    async def replace(self, agent_id: int) -> None:
        self.replaced.append(agent_id)


class Bench:
    """Everything a test asks; a new scheduler on the same ledger is a restart."""

    def __init__(self, store: Store, clock: FakeClock, alarm: Alarm) -> None:
        self.store = store
        self.clock = clock
        self.alarm = alarm
        self.gates = ScriptedGates()
        self.house = ScriptedHouse()
        self.admitted: list[Run] = []
        self.ended: list[Occurrence] = []
        self.troubles: list[str | None] = []
        self.starts = 0
        self.scheduler = self.new_scheduler()

    def new_scheduler(self) -> Scheduler:
        async def on_admitted(run: Run) -> None:
            self.admitted.append(run)

        async def on_ended(occurrence: Occurrence) -> None:
            self.ended.append(occurrence)

        self.starts += 1
        self.decider = Decider(
            store=self.store.schedule,
            gates=self.gates,
            house=self.house,
            clock=self.clock,
            on_admitted=on_admitted,
            on_ended=on_ended,
        )
        return Scheduler(
            store=self.store.schedule,
            decider=self.decider,
            clock=self.clock,
            alarm=self.alarm,
            owner=Owner(pid=self.starts, started_at="now", boot_id="here"),
            on_trouble=self.troubles.append,
            jitter=lambda: 0.0,
        )

    async def start(self) -> None:
        self.scheduler.start(await self.store.agents.list())
        await self.look()

    async def restart(self, *, after_s: float = 0.0) -> None:
        await self.scheduler.stop()
        self.clock.advance(after_s)
        self.scheduler = self.new_scheduler()
        await self.start()

    async def add(self, new: AgentDefinition) -> Agent:
        agent = await self.store.agents.add(new, "source")
        await self.refresh()
        return agent

    async def refresh(self) -> None:
        await self.scheduler.set_agents(await self.store.agents.list())

    async def pass_time(self, seconds: float) -> None:
        """Moves the clock and waits until what is due then was claimed and decided."""
        self.clock.advance(seconds)
        await self.look()

    async def look(self) -> None:
        async with asyncio.timeout(20):
            while self.scheduler.last_tick != self.clock.now():
                self.scheduler.poke()
                await asyncio.sleep(0.002)
        await self.decider.settled()

    async def look_anew(self) -> None:
        """One look to its end, though the clock stands still, and what was claimed in it is decided."""
        self.clock.advance(0.001)
        await self.look()

    async def rows(self) -> list[Occurrence]:
        """Everything that is not in the future, by due time."""
        found = await self.store.schedule.list(
            agent=None, status=None, since=None, until=None, limit=10_000, before=None
        )
        past = [row for row in found if row.status is not OccurrenceStatus.SCHEDULED]
        return sorted(past, key=lambda row: (row.due_at, row.id))

    async def statuses(self) -> list[OccurrenceStatus]:
        return [row.status for row in await self.rows()]

    async def armed(self) -> list[datetime]:
        return [row.due_at for row in await self.store.schedule.armed()]

    async def finish_runs(self) -> None:
        """All runs that wait succeed."""
        for run in await self.store.runs.list(limit=10_000):
            if not run.status.is_final:
                await self.store.runs.cancel_pending(run.id, "done")


@asynccontextmanager
async def opened(store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    alarm = Alarm(clock=clock)
    alarm.start()
    bench = Bench(store, clock, alarm)
    try:
        yield bench
    finally:
        await bench.scheduler.stop()
        await alarm.stop()


def due_minutes(rows: Sequence[Occurrence], start: datetime) -> list[float]:
    return [(row.due_at - start).total_seconds() / 60 for row in rows]
