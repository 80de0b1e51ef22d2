"""After a sleep everything is done in order, whatever fails, and the network is waited for where there was one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from agents.surroundings.waking import (
    Addresses,
    WakeStep,
    jitter,
    network_addresses,
    network_settles,
    take_steps,
)

NONE: Addresses = frozenset()
HOME: Addresses = frozenset({"eth0 192.0.2.7"})
HALF: Addresses = frozenset({"eth0 2001:db8::7"})


async def test_each_step_is_done_although_another_fails_or_hangs(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def step(name: str, *, limit_s: float = 5.0, hangs: bool = False, fails: bool = False) -> WakeStep:
        async def do() -> None:
            if fails:
                raise RuntimeError("a bug")
            await asyncio.sleep(30.0 if hangs else 0.0)
            done.append(name)

        return WakeStep(name=name, do=do, limit_s=limit_s)

    await take_steps(
        [step("one"), step("two", fails=True), step("three", hangs=True, limit_s=0.05), step("four")]
    )
    assert done == ["one", "four"]
    assert "after the sleep: two failed" in caplog.text
    assert "after the sleep: three took more than" in caplog.text


async def test_a_new_sleep_ends_the_steps() -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.sleep(30.0)

    later: list[int] = []

    async def note() -> None:
        later.append(1)

    steps = [WakeStep(name="hang", do=hang, limit_s=60.0), WakeStep(name="later", do=note, limit_s=1.0)]
    task = asyncio.create_task(take_steps(steps))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert later == []


def looks(*found: Addresses) -> Callable[[], Addresses]:
    """The last one stays."""
    coming: Iterator[Addresses] = iter(found)
    last = found[-1]
    return lambda: next(coming, last)


@pytest.mark.parametrize(
    ("before", "found", "settles"),
    [
        (HOME, (HOME,), True),
        (HOME, (NONE, NONE, NONE, NONE, HALF, HALF | HOME), True),
        (HOME, (NONE,), False),
        (NONE, (NONE,), True),
        (NONE, (NONE, HOME), True),
        (HOME, (HALF, HOME) * 30, False),
    ],
)
async def test_the_network_is_waited_for(
    before: Addresses, found: tuple[Addresses, ...], settles: bool
) -> None:
    seen: Awaitable[bool] = network_settles(before, look=looks(*found), limit_s=0.02, look_s=0.001)
    assert await seen is settles


async def test_it_is_not_waited_for_longer_than_allowed() -> None:
    async with asyncio.timeout(2.0):
        assert not await network_settles(HOME, look=lambda: NONE, limit_s=0.05, look_s=0.01)


def test_the_loopback_is_no_network() -> None:
    assert not any(" 127." in address or address.endswith(" ::1") for address in network_addresses())


async def test_jitter_is_short() -> None:
    async with asyncio.timeout(2.0):
        await jitter(0.01)
