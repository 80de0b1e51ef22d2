"""A run whose file was taken away says so, and the file has another run when it is back. Real store, real folder."""

from __future__ import annotations

from pathlib import Path

from agents.core import Agent, RunStatus
from agents.storage import Store
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock, occurrence_of
from tests.agents.runs.houses import first_choice, house


async def test_a_file_that_was_taken_away_and_put_back_is_digested(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    path = folder / "spring.md"
    new = occurrence_of(agent, path, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        run = await store.runs.record(new)
        assert run is not None
        made.manager.poke()
        failed = await made.until(run, RunStatus.FAILED)
        assert failed.reason == "spring.md is no longer there; put it back to have it read."
        path.write_text("The bill was 640 euros. Piotr must replace the valve.\n")
        again = await store.runs.record(new)
        assert again is not None
        made.manager.poke()
        await made.until(again, RunStatus.SUCCEEDED)
        assert await store.runs.record(new) is None
