"""Everything that makes due times happen, put together: what new versions of files become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from agents.bench.ungated import NoGates
from agents.core import Agent, FileState, Owner
from agents.policies import Budget
from agents.scheduling.alarm import Alarm
from agents.storage import Store
from agents.timetable import Timetable
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock, occurrence_of
from tests.agents.runs.houses import House, house


@pytest.fixture
async def made(store: Store, clock: FakeClock) -> AsyncIterator[House]:
    async with house(store, clock, ScriptedEngine(lambda _: "")) as made:
        yield made


@pytest.fixture
async def timetable(store: Store, clock: FakeClock, made: House) -> AsyncIterator[Timetable]:
    async def on_change(_: str) -> None: ...

    alarm = Alarm(clock=clock)
    alarm.start()
    timetable = Timetable(
        store=store,
        runs=made.manager,
        gates=NoGates(),
        bus=made.bus,
        clock=clock,
        alarm=alarm,
        owner=Owner(pid=1, started_at="1", boot_id="1"),
        zone=UTC,
        on_change=on_change,
        on_trouble=lambda _: None,
        on_incident=lambda _: None,
    )
    timetable.start(await store.agents.list())
    yield timetable
    await timetable.stop()
    await alarm.stop()


async def announced(timetable: Timetable, agent: Agent, path: Path, clock: FakeClock) -> bool | None:
    new = occurrence_of(agent, path, clock)
    state = FileState(path=path, size_bytes=1, mtime_ns=1, inode=1, content_hash=new.content_hash or "")
    return await timetable.announce_files(new, [state])


async def test_a_file_of_an_agent_without_gates_and_limits_needs_no_look(
    timetable: Timetable, agent: Agent, clock: FakeClock, tmp_path: Path
) -> None:
    await timetable.set_agents([agent])
    path = tmp_path / "a.txt"
    path.write_text("a")
    assert await announced(timetable, agent, path, clock) is None


async def test_files_are_counted_among_the_runs_that_the_house_may_have_in_a_day(
    timetable: Timetable, made: House, store: Store, agent: Agent, clock: FakeClock, tmp_path: Path
) -> None:
    await timetable.set_agents([agent])
    await made.manager.house_budget.change(Budget(runs_per_day=0))
    path = tmp_path / "a.txt"
    path.write_text("a")

    assert await announced(timetable, agent, path, clock) is True

    async with asyncio.timeout(10):
        while not (rows := await store.schedule.held(agent.id)):
            await asyncio.sleep(0.01)
    assert rows[0].reason == "Waits: All agents together may run 0 times a day, and did."
    assert await store.runs.list() == []
