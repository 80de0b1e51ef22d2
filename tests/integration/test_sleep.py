"""A real runtime on a bus with a stand-in logind: before a sleep its run is parked in time, after it the run goes on to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.agents.surroundings.buses import FakeLogind, private_bus
from tests.integration.conftest import House

PARAGRAPH = (
    "Team {number} met at the river on Monday and repaired gauge {number} for {number}00 euros. "
    "Water levels stayed normal. Ana must order part {number} before Friday. "
)
LONG = "# River notes\n\n" + "\n\n".join(PARAGRAPH.format(number=number) * 2 for number in range(1, 4))
LOGIND_ALLOWS_S = 5.0  # InhibitDelayMaxSec


async def until(condition: Callable[[], bool], what: str, *, limit_s: float = 60.0) -> float:
    """How long it took."""
    began_s = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began_s < limit_s, f"{what} did not happen within {limit_s:.0f} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began_s


@pytest.mark.real
@pytest.mark.timeout(300)  # on a busy machine a run in the background takes its time
async def test_a_run_in_work_is_parked_before_a_sleep_and_ends_well_after_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_bus() as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        logind = FakeLogind(address)
        await logind.start()
        try:
            await sleep_in_the_middle_of_a_run(house, logind)
        finally:
            if house.process is not None:
                await asyncio.to_thread(house.stop)
            await logind.stop()


async def sleep_in_the_middle_of_a_run(house: House, logind: FakeLogind) -> None:
    def statuses() -> list[str]:
        return [run.status for run in house.client.runs()]

    await asyncio.to_thread(house.start)
    await asyncio.to_thread(house.watch)
    await until(lambda: logind.manager.is_delayed, "the delay")
    house.drop("river.md", LONG)
    await until(lambda: statuses() == ["running"], "the run's begin")
    logind.manager.PrepareForSleep(True)
    took_s = await until(lambda: not logind.manager.is_delayed, "the parking")
    assert took_s < LOGIND_ALLOWS_S
    assert statuses() == ["pending"]
    await asyncio.sleep(1.0)
    assert statuses() == ["pending"], "a run began while the computer was about to sleep"
    logind.manager.PrepareForSleep(False)
    await until(lambda: statuses() == ["succeeded"], "the run's end", limit_s=180.0)
    assert logind.manager.is_delayed
