"""Before a sleep runs are parked; after it everything is looked at anew before they begin again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agents.surroundings.around_sleep import AroundSleep
from agents.surroundings.sleep import Gap
from agents.surroundings.waking import Addresses

HOME: Addresses = frozenset({"eth0 192.0.2.7"})
ORDER = ["engines", "due times: sleep", "folders", "look", "wake 2026-03-01T12:00:00+00:00", "unpark"]


class House:
    def __init__(self) -> None:
        self.did: list[str] = []
        self.addresses: Addresses = HOME
        self.engines_fail = self.engines_hang = False
        self.around = AroundSleep(
            runs=self,
            probe_engines=self._probe,
            after_gap=self._after_gap,
            watch_anew=lambda: self.did.append("folders"),
            look_around=self._look,
            announce_wake=self._announce,
            now=lambda: datetime(2026, 3, 1, 12, 0, 0, 400_000, tzinfo=UTC),
            addresses=lambda: self.addresses,
            settle_limit_s=0.05,
            jitter_s=0.0,
        )

    async def park(self) -> None:
        self.did.append("park")

    def unpark(self) -> None:
        self.did.append("unpark")

    async def _probe(self) -> None:
        self.did.append("engines")
        if self.engines_hang:
            await asyncio.Event().wait()
        if self.engines_fail:
            raise RuntimeError("a bug")

    async def _after_gap(self, reason: str) -> None:
        self.did.append(f"due times: {reason}")

    async def _look(self) -> None:
        self.did.append("look")

    async def _announce(self, mark: str) -> None:
        self.did.append(f"wake {mark}")


async def test_runs_begin_again_when_everything_else_is_done() -> None:
    house = House()
    await house.around.before()
    await house.around.after(Gap(slept_s=3600.0))
    assert house.did == ["park", *ORDER]


async def test_a_sleep_that_nobody_announced_is_followed_by_the_same() -> None:
    house = House()
    await house.around.after(Gap(slept_s=3600.0))
    assert house.did == ORDER


async def test_a_sleep_that_was_called_off_wakes_nobody() -> None:
    house = House()
    await house.around.before()
    await house.around.after(Gap(slept_s=0.0))
    assert house.did == ["park", "unpark"]


async def test_what_was_not_done_after_a_sleep_is_done_after_one_that_was_called_off() -> None:
    house = House()
    house.engines_hang = True
    waking = asyncio.create_task(house.around.after(Gap(slept_s=3600.0)))
    await asyncio.sleep(0.01)
    waking.cancel()  # as the watcher does when the next sleep is announced
    with pytest.raises(asyncio.CancelledError):
        await waking
    await house.around.before()
    house.engines_hang = False
    await house.around.after(Gap(slept_s=0.0))
    assert house.did == ["engines", "park", *ORDER]
    await house.around.before()
    await house.around.after(Gap(slept_s=0.0))
    assert house.did[-2:] == ["park", "unpark"], "once"


async def test_a_network_that_does_not_come_back_does_not_hold_runs_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House()
    await house.around.before()
    house.addresses = frozenset()
    with caplog.at_level("INFO"):
        await house.around.after(Gap(slept_s=3600.0))
    assert house.did[-1] == "unpark"
    assert "runs begin without it" in caplog.text


async def test_what_fails_after_a_sleep_does_not_keep_runs_parked() -> None:
    house = House()
    house.engines_fail = True
    await house.around.before()
    await house.around.after(Gap(slept_s=3600.0))
    assert house.did == ["park", *ORDER]
