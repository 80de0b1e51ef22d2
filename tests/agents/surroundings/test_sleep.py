"""Sleep, waking and a clock that is set: told once each, by the system's signals or by the clocks alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.surroundings.clocks import ClockReading, compare, system_clocks
from agents.surroundings.logind import LogindSignals
from agents.surroundings.sleep import SLEEP_LIMIT_S, Gap, SleepWatcher
from tests.agents.surroundings.buses import FakeLogind

HOUR_S, YEAR_S = 3600.0, 365 * 86_400.0


class FakeClocks:
    def __init__(self) -> None:
        self.reading = ClockReading(boottime_s=5000.0, awake_s=4000.0, wall_s=1_800_000_000.0)

    def __call__(self) -> ClockReading:
        return self.reading

    def pass_time(self, *, awake_s: float = 0.0, asleep_s: float = 0.0, set_s: float = 0.0) -> None:
        self.reading = ClockReading(
            boottime_s=self.reading.boottime_s + awake_s + asleep_s,
            awake_s=self.reading.awake_s + awake_s,
            wall_s=self.reading.wall_s + awake_s + asleep_s + set_s,
        )


@pytest.mark.parametrize(
    ("awake_s", "asleep_s", "set_s", "slept_s", "wall_set_s"),
    [
        (5.0, 0.0, 0.0, 0.0, 0.0),
        (5.0, 1.9, 0.0, 0.0, 0.0),
        (5.0, HOUR_S, 0.0, HOUR_S, 0.0),
        (5.0, 0.0, HOUR_S, 0.0, HOUR_S),
        (5.0, 0.0, -HOUR_S, 0.0, -HOUR_S),
        (5.0, 0.0, YEAR_S, 0.0, YEAR_S),
        (5.0, 0.0, -YEAR_S, 0.0, -YEAR_S),
        (5.0, HOUR_S, -HOUR_S, HOUR_S, -HOUR_S),
        (120.0, 0.0, 0.0, 0.0, 0.0),  # the process was stopped: no clock knows of it, and it is neither
        (5.0, 0.0, 1.5, 0.0, 0.0),
    ],
)
def test_three_clocks_tell_sleep_from_a_set_clock(
    awake_s: float, asleep_s: float, set_s: float, slept_s: float, wall_set_s: float
) -> None:
    clocks = FakeClocks()
    before = clocks()
    clocks.pass_time(awake_s=awake_s, asleep_s=asleep_s, set_s=set_s)
    change = compare(before, clocks())
    assert change.slept_s == pytest.approx(slept_s)
    assert change.wall_set_s == pytest.approx(wall_set_s, abs=1e-3)


@given(
    st.floats(0, 1e5),
    st.floats(0, 1e7),
    st.floats(-1e9, 1e9),
)
def test_no_mixture_hides_either(awake_s: float, asleep_s: float, set_s: float) -> None:
    clocks = FakeClocks()
    before = clocks()
    clocks.pass_time(awake_s=awake_s, asleep_s=asleep_s, set_s=set_s)
    change = compare(before, clocks())
    if abs(asleep_s - 2.0) > 0.01:
        assert (change.slept_s > 0) is (asleep_s > 2.0)
    if abs(abs(set_s) - 2.0) > 0.01:
        assert (change.wall_set_s != 0) is (abs(set_s) > 2.0)


def test_the_real_clocks_agree_while_the_computer_is_awake() -> None:
    read = system_clocks()
    before = read()
    time.sleep(0.01)
    change = compare(before, read())
    assert (change.slept_s, change.wall_set_s) == (0.0, 0.0)


class FakeSignals:
    """A system that announces sleep when the test says so."""

    async def start(
        self, about_to_sleep: Callable[[], Awaitable[None]], awake: Callable[[], Awaitable[None]]
    ) -> None:
        self.about_to_sleep, self.awake = about_to_sleep, awake

    async def stop(self) -> None:
        return None


class House:
    """A watcher with everything that it tells."""

    def __init__(self, *, park_limit_s: float = 2.0, look_s: float = 3600.0) -> None:
        self.clocks = FakeClocks()
        self.signals = FakeSignals()
        self.parked = 0
        self.parking_takes_s = 0.0
        self.waking_takes_s = 0.0
        self.wakes: list[float] = []
        self.wakes_begun = 0
        self.sets: list[float] = []
        self.watcher = SleepWatcher(
            signals=self.signals,
            clocks=self.clocks,
            on_sleep=self._park,
            on_wake=self._wake,
            on_clock_set=self.sets.append,
            look_s=look_s,
            park_limit_s=park_limit_s,
        )

    async def _park(self) -> None:
        await asyncio.sleep(self.parking_takes_s)
        self.parked += 1

    async def _wake(self, gap: Gap) -> None:
        self.wakes_begun += 1
        await asyncio.sleep(self.waking_takes_s)
        self.wakes.append(gap.slept_s)

    async def rest(self) -> None:
        await asyncio.sleep(0.01)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.watcher.start()
    yield house
    await house.watcher.stop()


async def test_an_announced_sleep_is_parked_for_and_told_once(house: House) -> None:
    await house.signals.about_to_sleep()
    assert house.parked == 1
    house.clocks.pass_time(awake_s=1.0, asleep_s=HOUR_S)
    await house.signals.awake()
    house.watcher.look()
    await house.rest()
    assert house.wakes == [HOUR_S]


async def test_a_look_before_the_signal_tells_it_once_too(house: House) -> None:
    await house.signals.about_to_sleep()
    house.clocks.pass_time(awake_s=1.0, asleep_s=HOUR_S)
    house.watcher.look()
    await house.signals.awake()
    await house.rest()
    assert house.wakes == [HOUR_S]


async def test_a_sleep_that_nobody_announced_is_found_by_the_clocks(house: House) -> None:
    house.clocks.pass_time(awake_s=5.0, asleep_s=90.0)
    house.watcher.look()
    await house.rest()
    assert (house.parked, house.wakes, house.sets) == (0, [90.0], [])


async def test_a_sleep_that_was_called_off_is_followed_by_waking(house: House) -> None:
    await house.signals.about_to_sleep()
    await house.signals.awake()
    await house.rest()
    assert house.wakes == [0.0]


async def test_a_sleep_that_never_comes_and_is_never_called_off_does_not_park_for_ever(house: House) -> None:
    await house.signals.about_to_sleep()
    house.clocks.pass_time(awake_s=SLEEP_LIMIT_S - 1)
    house.watcher.look()
    await house.rest()
    assert house.wakes == []
    house.clocks.pass_time(awake_s=2.0)
    house.watcher.look()
    await house.rest()
    assert house.wakes == [0.0]


async def test_a_second_word_of_waking_means_nothing(house: House) -> None:
    await house.signals.awake()
    await house.rest()
    assert house.wakes == []


async def test_parking_gets_its_time_and_no_more() -> None:
    house = House(park_limit_s=0.05)
    await house.watcher.start()
    house.parking_takes_s = 30.0
    try:
        async with asyncio.timeout(2.0):
            await house.signals.about_to_sleep()
        assert house.parked == 0
    finally:
        await house.watcher.stop()


async def test_a_new_sleep_ends_what_the_last_waking_was_still_doing(house: House) -> None:
    house.waking_takes_s = 30.0
    house.clocks.pass_time(asleep_s=60.0)
    house.watcher.look()
    await house.rest()
    assert house.wakes_begun == 1
    await house.signals.about_to_sleep()
    house.waking_takes_s = 0.0
    house.clocks.pass_time(asleep_s=70.0)
    await house.signals.awake()
    await house.rest()
    assert house.wakes == [70.0]


@pytest.mark.parametrize("set_s", [HOUR_S, -HOUR_S, YEAR_S, -YEAR_S])
async def test_a_set_clock_is_told_and_is_no_sleep(house: House, set_s: float) -> None:
    house.clocks.pass_time(awake_s=5.0, set_s=set_s)
    house.watcher.look()
    house.watcher.look()
    await house.rest()
    assert house.sets == [pytest.approx(set_s, abs=1e-3)]
    assert house.wakes == []


async def test_the_watcher_looks_by_itself() -> None:
    house = House(look_s=0.01)
    await house.watcher.start()
    try:
        house.clocks.pass_time(asleep_s=50.0)
        async with asyncio.timeout(2.0):
            while not house.wakes:
                await asyncio.sleep(0.01)
    finally:
        await house.watcher.stop()
    assert house.wakes == [50.0]


async def test_a_bug_in_what_is_told_ends_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(gap: Gap) -> None:
        raise RuntimeError("a bug")

    house.watcher._on_wake = broken
    house.clocks.pass_time(asleep_s=50.0)
    house.watcher.look()
    await house.rest()
    assert "not everything was done after the sleep" in caplog.text


# -- logind -----------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool], *, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_logind_waits_for_the_parking_and_is_delayed_again_after_waking(
    logind: FakeLogind, bus_address: str
) -> None:
    house = House()
    house.watcher._signals = signals = LogindSignals(address=bus_address)
    house.parking_takes_s = 0.2
    await house.watcher.start()
    try:
        await until(lambda: signals.holds_lock)
        assert logind.manager.asked == [("sleep", "Hearth", "delay")]
        assert logind.manager.is_delayed
        logind.manager.PrepareForSleep(True)
        await asyncio.sleep(0.05)
        assert logind.manager.is_delayed, "the lock was given back before everything was parked"
        await until(lambda: not logind.manager.is_delayed)
        assert house.parked == 1
        house.clocks.pass_time(awake_s=1.0, asleep_s=HOUR_S)
        logind.manager.PrepareForSleep(False)
        await until(lambda: house.wakes == [HOUR_S])
        assert logind.manager.is_delayed
    finally:
        await house.watcher.stop()
    assert not logind.manager.is_delayed


async def test_a_parking_that_hangs_delays_sleep_no_longer_than_its_limit(
    logind: FakeLogind, bus_address: str
) -> None:
    house = House(park_limit_s=0.1)
    house.watcher._signals = signals = LogindSignals(address=bus_address)
    house.parking_takes_s = 60.0
    await house.watcher.start()
    try:
        await until(lambda: signals.holds_lock)
        logind.manager.PrepareForSleep(True)
        await until(lambda: not logind.manager.is_delayed, limit_s=3.0)
    finally:
        await house.watcher.stop()


async def test_a_logind_that_comes_back_is_listened_to_again(logind: FakeLogind, bus_address: str) -> None:
    house = House()
    house.watcher._signals = signals = LogindSignals(address=f"{bus_address}-missing", retry_s=0.05)
    await house.watcher.start()
    try:
        await asyncio.sleep(0.1)
        assert not signals.holds_lock
        signals._address = bus_address
        await until(lambda: signals.holds_lock)
    finally:
        await house.watcher.stop()


async def test_another_programs_signals_of_that_name_are_not_logind(
    logind: FakeLogind, bus_address: str
) -> None:
    house = House()
    house.watcher._signals = signals = LogindSignals(address=bus_address)
    await house.watcher.start()
    stranger = FakeLogind(bus_address)
    try:
        await until(lambda: signals.holds_lock)
        await stranger.start()  # its name is taken, so it speaks without it
        stranger.manager.PrepareForSleep(True)
        await stranger.whisper_sleep_to_everybody()
        await asyncio.sleep(0.2)
        assert house.parked == 0
        assert logind.manager.is_delayed
    finally:
        await house.watcher.stop()
        await stranger.stop()


def n_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_no_descriptor_is_left_open(logind: FakeLogind, bus_address: str) -> None:
    before = n_descriptors()
    house = House()
    house.watcher._signals = signals = LogindSignals(address=bus_address)
    await house.watcher.start()
    await until(lambda: signals.holds_lock)
    await house.watcher.stop()
    logind.manager.close()
    assert n_descriptors() <= before
