"""A whole runtime with a scripted model: what is armed is told, and no setting of the clock causes a storm or a standstill."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agents.core import Occurrence, OccurrenceStatus
from agents.credentials import KeyKind, ResolvedKey
from agents.paths import HomePaths
from agents.runtime import Runtime
from agents.storage import Store
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec
from tests.agents.runs.test_manager import first_choice

YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)
QUARTERS = """---
name: Quarters
description: Writes each quarter of an hour.
kind: write
triggers:
  - on: cron
    schedule: "*/15 * * * *"
    zone: UTC
---
Write one word.
"""
ONCE = """---
name: Once
description: Writes once.
kind: write
triggers:
  - on: once
    at: {at}
    zone: UTC
---
Write one word.
"""


class SteppedClock:
    """The machine's clock, set by hand."""

    def __init__(self) -> None:
        self.step = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.step

    def monotonic(self) -> float:
        return time.monotonic()


class House:
    """A runtime in this process, and a client on its socket."""

    def __init__(self, runtime: Runtime, http: httpx2.AsyncClient, clock: SteppedClock) -> None:
        self.runtime = runtime
        self.http = http
        self.clock = clock

    async def add(self, source: str) -> httpx2.Response:
        return await self.http.post("/v1/agents", json={"source": source, "accept": True})

    async def look(self) -> None:
        """Until a look at the clock as it is now has ended, and what it claimed is decided."""
        since = self.clock.now()
        scheduler = self.runtime.timetable.scheduler
        async with asyncio.timeout(20):
            while True:
                scheduler.poke()
                await asyncio.sleep(0.02)
                looked = scheduler.last_tick
                rows = await self.runtime.store.schedule.list(limit=500, status=OccurrenceStatus.CLAIMED)
                if (
                    looked is not None
                    and abs(looked - since) < timedelta(seconds=20)
                    and looked >= since
                    and not rows
                ):
                    return

    async def rows(self) -> list[Occurrence]:
        rows = await self.runtime.store.schedule.list(limit=1000)
        return [row for row in rows if row.status is not OccurrenceStatus.SCHEDULED]

    async def set_clock(self, step: timedelta) -> None:
        self.clock.step += step
        await self.look()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="h-") as folder:  # a socket's path has to be short
        paths = HomePaths(Path(folder) / "home")
        paths.root.mkdir(mode=0o700)
        key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
        clock = SteppedClock()
        runtime = Runtime(
            paths=paths,
            store=await Store.open(paths.database, key, clock=clock),
            key=key,
            clock=clock,
            default_model=ModelSpec(path=Path("/nowhere"), name="scripted"),
            make_engine=lambda _: ScriptedEngine(first_choice),
        )
        task = asyncio.create_task(runtime.run())
        transport = httpx2.AsyncHTTPTransport(uds=str(paths.socket))
        async with httpx2.AsyncClient(transport=transport, base_url="http://hearth", timeout=30) as http:
            try:
                async with asyncio.timeout(10):
                    while not paths.socket.exists():
                        await asyncio.sleep(0.01)
                yield House(runtime, http, clock)
            finally:
                runtime.ask_to_stop()
                await task


def due_at(answer: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(answer["next_due"])


async def test_adding_an_agent_answers_with_the_due_time_that_was_armed_for_it(house: House) -> None:
    answer = await house.add(QUARTERS)
    assert answer.status_code == 201, answer.text
    now = house.clock.now()
    assert now < due_at(answer.json()) <= now + timedelta(minutes=15)
    assert due_at(answer.json()).minute % 15 == 0
    [armed] = await house.runtime.store.schedule.armed()
    assert armed.due_at == due_at(answer.json())


async def test_an_agent_whose_moment_has_passed_is_refused_and_not_kept(house: House) -> None:
    past = house.clock.now() - HOUR
    answer = await house.add(ONCE.format(at=past.strftime("%Y-%m-%d %H:%M")))
    assert answer.status_code == 400
    assert "has passed" in answer.json()["error"]["message"]
    names = [agent["name"] for agent in (await house.http.get("/v1/agents")).json()]
    assert "Once" not in names


async def test_the_status_and_the_doctor_tell_when_due_times_were_looked_at_and_which_is_next(
    house: House,
) -> None:
    added = await house.add(QUARTERS)
    await house.look()
    status = (await house.http.get("/v1/status")).json()["scheduler"]
    assert datetime.fromisoformat(status["next_due"]) == due_at(added.json())
    assert house.clock.now() - datetime.fromisoformat(status["last_tick"]) < timedelta(seconds=30)
    checks = {check["name"]: check for check in (await house.http.get("/v1/doctor")).json()["checks"]}
    assert checks["schedule"]["ok"]
    assert "the next one is on" in checks["schedule"]["message"]


async def test_a_clock_set_by_an_hour_or_a_year_causes_no_storm_and_no_standstill(house: House) -> None:
    added = await house.add(QUARTERS)
    assert added.status_code == 201, added.text
    for step in (HOUR, -HOUR, YEAR, -YEAR):
        before = len(await house.rows())
        await house.set_clock(step)
        rows = await house.rows()
        assert len(rows) - before <= 103
        assert len(await house.runtime.store.runs.list(limit=500)) <= len(rows)
        assert max(Counter(row.key for row in rows).values(), default=1) == 1

    # After all of it the clock is right again, and the next quarter is armed, unless it is one of those that ran.
    now = house.clock.now()
    ahead = await house.runtime.store.schedule.next_due()
    assert ahead is not None
    passed = {row.due_at for row in await house.rows() if row.status is not OccurrenceStatus.MISSED}
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15)
    while quarter in passed:
        quarter += timedelta(minutes=15)
    assert ahead == quarter
