"""The service looks around, decides for each class of work, limits the engines and tells each change once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.core import Agent, AgentDefinition, AgentKind
from agents.policies import PowerClass
from agents.surroundings.core import Surroundings
from agents.surroundings.governor import MIN_STAND_S, Action
from agents.surroundings.load import CpuReading, LoadMeter
from agents.surroundings.service import TALK_LASTS_S, SurroundingsService
from agents.triggers import IdleTrigger
from engine.model import PowerLimits
from tests.agents.conftest import FakeClock

RUN, SLOW, PAUSE = Action.RUN, Action.THROTTLE, Action.PAUSE
PLUGGED_IN = Surroundings(on_ac=True, battery_percent=80.0, saver=False, idle_s=0.0, locked=False)


class FakeProber:
    """A computer whose state is set by hand."""

    def __init__(self) -> None:
        self.seen = PLUGGED_IN
        self.looks = 0
        self.fails = False
        self.is_closed = False

    async def look(self) -> Surroundings:
        self.looks += 1
        if self.fails:
            raise RuntimeError("a bug")
        return self.seen

    async def close(self) -> None:
        self.is_closed = True


class House:
    def __init__(self, clock: FakeClock, **intervals: float) -> None:
        self.clock = clock
        self.prober = FakeProber()
        self.others_busy = 0.0  # share of four processors
        self.limits: list[PowerLimits] = []
        self.changes = 0
        self.idle: list[float] = []
        self.agents: list[Agent] = []
        self._busy_s = 0.0
        self._read_at_s = clock.monotonic()
        self.service = SurroundingsService(
            prober=self.prober,
            load=LoadMeter(own_pids=list, n_cpus=4, read=self._read_cpu),
            clock=clock,
            n_cpus=4,
            set_limits=self.limits.append,
            on_change=self._changed,
            on_idle=self.idle.append,
            agents=lambda: self.agents,
            **{"look_s": 3600.0, "look_unarmed_s": 3600.0, **intervals},
        )

    def _changed(self) -> None:
        self.changes += 1

    def _read_cpu(self, own_pids: Iterable[int]) -> CpuReading:
        self._busy_s += (self.clock.monotonic() - self._read_at_s) * 4 * self.others_busy
        self._read_at_s = self.clock.monotonic()
        return CpuReading(at_s=self._read_at_s, busy_s=self._busy_s, ours_s={})

    async def see(self, seconds: float = 10.0, **changes: Any) -> None:
        self.prober.seen = replace(self.prober.seen, **changes)
        self.clock.advance(seconds)
        await self.service.look()

    def actions(self) -> tuple[Action, ...]:
        return tuple(self.service.verdict(power).action for power in PowerClass)


@pytest.fixture
async def house(clock: FakeClock) -> AsyncIterator[House]:
    house = House(clock)
    await house.service.start()
    yield house
    await house.service.stop()


async def test_the_first_look_is_done_before_the_start_is_over(clock: FakeClock) -> None:
    house = House(clock)
    house.prober.seen = Surroundings(saver=True)
    assert house.service.verdict().action is RUN
    await house.service.start()
    assert house.service.verdict().reason == "Paused: the battery saver is on."
    assert house.limits == [PowerLimits(background=False)]
    await house.service.stop()
    assert house.prober.is_closed


async def test_a_first_look_that_fails_keeps_nobody_from_starting(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(clock)
    house.prober.fails = True
    with caplog.at_level("ERROR"):
        await house.service.start()
    assert "a look at the surroundings failed" in caplog.text
    assert house.actions() == (RUN, RUN, RUN)
    house.prober.fails = False
    await house.see(on_ac=False)
    assert house.actions() != (RUN, RUN, RUN)
    await house.service.stop()


async def test_each_class_of_work_has_its_own_verdict(house: House) -> None:
    assert house.actions() == (RUN, RUN, PAUSE)
    await house.see(on_ac=False)
    assert house.actions() == (RUN, PAUSE, PAUSE)
    await house.see(battery_percent=40.0, idle_s=700.0)
    assert house.actions() == (SLOW, PAUSE, SLOW)


async def test_the_engines_follow_what_holds_for_ordinary_work(house: House) -> None:
    assert house.limits == [PowerLimits()]
    await house.see(on_ac=False, battery_percent=40.0)
    await house.see(battery_percent=39.0)
    await house.see(battery_percent=15.0)
    await house.see(30.0, on_ac=True)
    assert house.limits[1:] == [PowerLimits(max_threads=2), PowerLimits(background=False), PowerLimits()]


async def test_a_change_is_told_once_and_a_look_without_one_is_not(house: House) -> None:
    before = house.changes
    await house.see()
    assert house.changes == before
    await house.see(saver=True)
    await house.see()
    assert house.changes == before + 1


async def test_a_milder_verdict_waits_out_its_time(house: House) -> None:
    await house.see(saver=True)
    await house.see(MIN_STAND_S / 2, saver=False)
    assert house.service.verdict().action is PAUSE
    await house.see(MIN_STAND_S / 2)
    assert house.service.verdict().action is RUN


async def test_a_run_by_hand_is_let_through_the_saver(house: House) -> None:
    await house.see(saver=True)
    assert house.service.verdict().action is PAUSE
    assert house.service.verdict(by_hand=True).action is SLOW
    assert house.service.verdict(PowerClass.IDLE_ONLY, by_hand=True).action is SLOW


async def test_a_conversation_slows_agents_until_a_minute_after_it(house: House) -> None:
    with house.service.talk():
        assert house.service.verdict().reason == "Slower: you are talking with the model."
        await house.see(300.0)
        assert house.service.verdict().action is SLOW
    await house.see(TALK_LASTS_S - 1)
    assert house.service.verdict().action is SLOW
    await house.see(2.0)
    assert house.service.verdict().action is RUN


async def test_two_conversations_end_with_the_later_one(house: House) -> None:
    with house.service.talk():
        with house.service.talk():
            pass
        await house.see(TALK_LASTS_S + 60.0)
        assert house.service.current.talking is True


async def test_an_answer_has_the_whole_processor_even_on_battery(house: House) -> None:
    await house.see(on_ac=False, battery_percent=40.0)
    assert house.limits[-1] == PowerLimits(max_threads=2)
    with house.service.talk():
        assert house.limits[-1] == PowerLimits()


async def test_others_load_counts_after_half_a_minute(house: House) -> None:
    house.others_busy = 1.0
    await house.see()
    await house.see()
    assert house.service.verdict().action is RUN
    await house.see()
    assert house.service.verdict().reason == "Slower: other programs need the processor."
    house.others_busy = 0.2
    await house.see()
    await house.see()
    assert house.service.verdict().action is RUN


async def test_what_the_desktop_tells_counts_at_once_and_not_for_ever(house: House) -> None:
    house.service.report_presence(full_screen=True)
    assert house.service.verdict().reason == "Paused: a program fills the screen."
    await house.see(100.0)
    assert house.service.verdict().action is RUN


def agent_of(*idle_after_s: float, paused: bool = False) -> Agent:
    definition = AgentDefinition(
        name="Tidy",
        description="Tidies up.",
        kind=AgentKind.WRITE,
        triggers=tuple(IdleTrigger(after_s=after_s) for after_s in idle_after_s),
        read_folders=(),
    )
    return Agent(
        id=1,
        revision_id=1,
        revision=1,
        paused=paused,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        source="",
        definition=definition,
    )


async def test_an_absence_is_told_once_for_each_time_that_somebody_waits_for(house: House) -> None:
    house.agents = [agent_of(60.0, 600.0), agent_of(600.0), agent_of(65.0, paused=True)]
    await house.see(1000.0, idle_s=61.0)
    await house.see(idle_s=71.0)
    await house.see(idle_s=605.0)
    assert house.idle == [60.0, 600.0]
    await house.see(idle_s=0.0)
    await house.see(70.0, idle_s=70.0)
    assert house.idle[2:] == [60.0]


async def test_it_looks_by_itself_and_outlives_a_look_that_fails(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(clock, look_s=0.01)
    house.agents = [agent_of()]
    await house.service.start()
    try:
        house.prober.fails = True
        await until_looked(house, 3)
        house.prober.fails = False
        house.prober.seen = Surroundings(full_screen=True)
        await until_looked(house, 3)
        assert house.service.verdict().action is PAUSE
    finally:
        await house.service.stop()
    assert "a look at the surroundings failed" in caplog.text


async def test_it_looks_less_often_while_no_agent_is_at_work(clock: FakeClock) -> None:
    house = House(clock, look_s=0.01, look_unarmed_s=0.3)
    house.agents = [agent_of(paused=True)]
    await house.service.start()
    try:
        await asyncio.sleep(0.1)
        assert house.prober.looks == 1
        house.agents = [agent_of()]
        await until_looked(house, 5)
    finally:
        await house.service.stop()


async def until_looked(house: House, more: int) -> None:
    wanted = house.prober.looks + more
    async with asyncio.timeout(5.0):
        while house.prober.looks < wanted:
            await asyncio.sleep(0.005)
