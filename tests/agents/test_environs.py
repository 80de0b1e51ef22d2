"""The surroundings reach the runs, the scheduler, the engines and the clients; sleep parks runs and wakes agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from agents import contract
from agents.core import Agent, HeldBy
from agents.environs import Environs
from agents.errors import DiskFull
from agents.events import EventBus
from agents.policies import PowerClass
from agents.surroundings.clocks import ClockReading
from agents.surroundings.core import Surroundings
from agents.triggers import IdleTrigger, StartTrigger, Trigger, TriggerKind
from engine.model import PowerLimits
from tests.agents.conftest import FakeClock
from tests.agents.surroundings.test_service import agent_of

IDLE_10, IDLE_20 = IdleTrigger(after_s=600.0), IdleTrigger(after_s=1200.0)


class Computer:
    """Prober, sleep signals and clocks of one made-up computer."""

    def __init__(self) -> None:
        self.seen = Surroundings(on_ac=True, idle_s=0.0)
        self.asleep_s = 0.0
        self.set_s = 0.0

    async def look(self) -> Surroundings:
        return self.seen

    async def close(self) -> None:
        return None

    async def start(
        self, about_to_sleep: Callable[[], Awaitable[None]], awake: Callable[[], Awaitable[None]]
    ) -> None:
        self.about_to_sleep, self.awake = about_to_sleep, awake

    async def stop(self) -> None:
        return None

    def clocks(self) -> ClockReading:
        return ClockReading(
            boottime_s=1000.0 + self.asleep_s, awake_s=1000.0, wall_s=2e9 + self.asleep_s + self.set_s
        )


class Parts:
    """Runs, scheduler, engines and folders, as far as they are told anything here."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.limits: list[PowerLimits] = []
        self.happened_to: list[tuple[TriggerKind, list[Trigger]]] = []
        self.disk_is_full = 0
        self.released: list[HeldBy] = []
        self.pids: list[int] = []

    def surroundings_changed(self) -> None:
        self.told.append("changed")

    def release(self, held_by: HeldBy) -> None:
        self.released.append(held_by)

    async def park(self) -> None:
        self.told.append("park")

    def unpark(self) -> None:
        self.told.append("unpark")

    async def probe(self) -> None:
        self.told.append("probe")

    def set_limits(self, limits: PowerLimits) -> None:
        self.limits.append(limits)

    def look_again(self) -> None:
        self.told.append("folders")

    async def after_gap(self, reason: str) -> None:
        self.told.append(f"gap: {reason}")

    async def happened(self, kind: TriggerKind, mark: str, *, where: Callable[[Trigger], bool]) -> None:
        if self.disk_is_full:
            self.disk_is_full -= 1
            raise DiskFull("The disk is full; free some space.")
        triggers: list[Trigger] = [IDLE_10, IDLE_20, StartTrigger()]
        self.happened_to.append((kind, [trigger for trigger in triggers if where(trigger)]))


class House:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.computer = Computer()
        self.parts = Parts()
        self.bus = EventBus(clock)
        self.agents: list[Agent] = []
        parts = cast(Any, self.parts)
        self.environs = Environs(
            engines=parts,
            runs=parts,
            scheduler=parts,
            folders=parts,
            agents=lambda: self.agents,
            bus=self.bus,
            clock=clock,
            prober=self.computer,
            signals=self.computer,
            clocks=self.computer.clocks,
        )

    async def look(self, seen: Surroundings, seconds: float = 30.0) -> None:
        self.clock.advance(seconds)
        self.computer.seen = seen
        await self.environs.surroundings.look()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(8.0):
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def house(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr("agents.environs.RETRY_S", 0.01)
    house = House(clock)
    await house.environs.start()
    yield house
    await house.environs.stop()


async def test_a_verdict_reaches_runs_engines_and_clients(house: House) -> None:
    events: list[contract.GovernorInfo] = []

    async def listen() -> None:
        async for event in house.bus.subscribe():
            assert isinstance(event.data, contract.GovernorChanged)
            events.append(event.data.governor)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await house.look(Surroundings(on_ac=False, battery_percent=10.0))
    reason = "Paused: on battery below 20 %."
    assert house.environs.why_paused(PowerClass.ANY) == reason
    assert house.environs.governor == contract.GovernorInfo(action="pause", reason=reason)
    assert house.parts.told[-1] == "changed"
    assert house.parts.limits[-1] == PowerLimits(background=False)
    await house.look(Surroundings(on_ac=True, battery_percent=10.0))
    assert house.environs.why_paused(PowerClass.ANY) is None
    house.bus.close()
    await listening
    assert [event.action for event in events] == ["pause", "run"]


async def test_what_waits_for_a_plug_is_looked_at_once_there_is_one(house: House) -> None:
    house.parts.released.clear()
    await house.look(Surroundings(on_ac=False, battery_percent=80.0))
    assert house.parts.released == []
    await house.look(Surroundings(on_ac=True, battery_percent=80.0))
    assert house.parts.released == [HeldBy.AC_POWER]


async def test_slower_is_no_reason_not_to_begin(house: House) -> None:
    await house.look(Surroundings(on_ac=False, battery_percent=40.0))
    assert house.environs.governor.action == "throttle"
    assert house.environs.is_throttled
    assert house.environs.why_paused(PowerClass.ANY) is None
    assert house.environs.why_paused(PowerClass.AC_ONLY) is not None


async def test_an_absence_wakes_those_who_wait_for_just_that_one(house: House) -> None:
    house.agents = [agent_of(600.0, 1200.0)]
    await house.look(Surroundings(idle_s=610.0), seconds=2000.0)
    await house.until(lambda: house.parts.happened_to == [(TriggerKind.IDLE, [IDLE_10])])
    await house.look(Surroundings(idle_s=1210.0), seconds=600.0)
    await house.until(lambda: house.parts.happened_to[1:] == [(TriggerKind.IDLE, [IDLE_20])])


async def test_what_happened_while_the_disk_was_full_is_written_down_later(house: House) -> None:
    house.agents = [agent_of(600.0)]
    house.parts.disk_is_full = 3
    await house.look(Surroundings(idle_s=610.0), seconds=2000.0)
    await house.until(lambda: house.parts.happened_to == [(TriggerKind.IDLE, [IDLE_10])])


async def test_a_bug_in_announcing_is_in_the_log(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(house.parts, "happened", broken)
    house.agents = [agent_of(600.0)]
    with caplog.at_level("ERROR"):
        await house.look(Surroundings(idle_s=610.0), seconds=2000.0)
        await house.until(lambda: "idle could not be announced" in caplog.text)


async def test_a_sleep_parks_runs_and_wakes_agents_afterwards(house: House) -> None:
    await house.computer.about_to_sleep()
    assert house.parts.told[-1] == "park"
    house.parts.told.clear()
    house.computer.asleep_s = 3600.0
    await house.computer.awake()
    await house.until(lambda: "unpark" in house.parts.told)
    assert house.parts.told == ["probe", "gap: sleep", "folders", "unpark"]
    assert [kind for kind, _ in house.parts.happened_to] == [TriggerKind.WAKE]


async def test_a_set_clock_makes_the_scheduler_look_anew(house: House) -> None:
    house.computer.set_s = -3600.0
    house.environs._sleep.look()
    await house.until(lambda: house.parts.told[-1] == "gap: the clock was set by -3600 s")
