"""The alarm clock rings in time, once for what was missed, and also when somebody sets the clock."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from agents.scheduling.alarm import Alarm


class SteppedClock:
    """The machine's clock, moved by hand."""

    def __init__(self) -> None:
        self.step = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.step

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def alarm(clock: SteppedClock) -> AsyncIterator[Alarm]:
    alarm = Alarm(clock=clock, guard_s=0.05)
    alarm.start()
    yield alarm
    await alarm.stop()


async def until(rings: list[float], count: int) -> None:
    async with asyncio.timeout(10):
        while len(rings) < count:
            await asyncio.sleep(0.01)


async def test_it_rings_every_so_often_until_cancelled(alarm: Alarm) -> None:
    rings: list[float] = []
    cancel = alarm.every(0.05, lambda: rings.append(time.monotonic()))
    await until(rings, 3)
    cancel()
    count = len(rings)
    await asyncio.sleep(0.2)
    assert len(rings) == count


async def test_it_rings_once_after_a_while(alarm: Alarm) -> None:
    rings: list[float] = []
    began_s = time.monotonic()
    cancel = alarm.after(0.1, lambda: rings.append(time.monotonic() - began_s))
    await until(rings, 1)
    await asyncio.sleep(0.2)
    assert len(rings) == 1
    assert rings[0] >= 0.09
    cancel()  # too late, and no error


async def test_a_cancelled_ring_does_not_come(alarm: Alarm) -> None:
    rings: list[float] = []
    alarm.after(0.05, lambda: rings.append(0.0))()
    await asyncio.sleep(0.2)
    assert rings == []


async def test_rings_missed_while_the_process_stood_still_are_not_dropped_but_become_one(
    alarm: Alarm,
) -> None:
    ticks: list[float] = []
    once: list[float] = []
    alarm.every(0.6, lambda: ticks.append(0.0))
    alarm.after(0.05, lambda: once.append(0.0))
    time.sleep(1.3)  # noqa: ASYNC251 - the loop must stand still, as when the machine sleeps
    await until(ticks, 1)
    await until(once, 1)
    assert (len(ticks), len(once)) == (1, 1)


async def test_a_clock_set_back_does_not_silence_it(alarm: Alarm, clock: SteppedClock) -> None:
    rings: list[float] = []
    alarm.every(3600, lambda: rings.append(0.0))  # as an interval looks after the clock went back an hour
    await asyncio.sleep(0.15)
    assert rings == []
    clock.step = timedelta(hours=-1)
    await until(rings, 1)


async def test_nothing_rings_after_stop(clock: SteppedClock) -> None:
    alarm = Alarm(clock=clock)
    alarm.start()
    rings: list[float] = []
    alarm.every(0.02, lambda: rings.append(0.0))
    await until(rings, 1)
    await alarm.stop()
    count = len(rings)
    await asyncio.sleep(0.1)
    assert len(rings) == count
    await alarm.stop()
