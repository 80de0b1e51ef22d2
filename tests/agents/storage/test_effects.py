"""An effect is a row before it is made and has one outcome; what went wrong with Hearth itself is kept too."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from agents.core import Agent, Effect, Run
from agents.errors import Conflict, NotFound
from agents.storage import Store
from agents.storage.incident_store import KEPT
from tests.agents.conftest import FakeClock, definition_of
from tests.agents.storage.databases import occurrence


@pytest.fixture
async def run(store: Store, agent: Agent) -> Run:
    recorded = await store.runs.record(occurrence(agent.id, "a"))
    assert recorded is not None
    return recorded


async def test_an_intent_comes_back_as_the_first_attempt_stored_it(store: Store, run: Run) -> None:
    first = await store.runs.put_effect(run.id, "out", "write_file", {"text": "one"})
    assert first == Effect(run_id=run.id, key="out", kind="write_file", request={"text": "one"})

    assert await store.runs.put_effect(run.id, "out", "write_file", {"text": "two"}) == first
    await store.runs.put_effect(run.id, "another", "write_file", None)
    assert [effect.key for effect in await store.runs.effects(run.id)] == ["out", "another"]


async def test_an_effect_has_one_outcome(store: Store, run: Run) -> None:
    await store.runs.put_effect(run.id, "out", "write_file", {})
    for _ in range(2):  # the same one again, as after a lost answer
        settled = await store.runs.settle_effect(run.id, "out", {"written": True})
        assert settled.outcome == {"written": True}

    with pytest.raises(Conflict, match="another outcome"):
        await store.runs.settle_effect(run.id, "out", {"written": False})
    with pytest.raises(NotFound):
        await store.runs.settle_effect(run.id, "unknown", True)
    with pytest.raises(ValueError, match="not null"):
        await store.runs.settle_effect(run.id, "out", None)
    assert (await store.runs.effects(run.id))[0].outcome == {"written": True}


async def test_a_file_is_its_agents_own_from_the_intent_on(store: Store, agent: Agent, run: Run) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    path = Path(os.fsdecode(b"/out/\xff.md"))
    await store.runs.put_effect(run.id, "out", "write_file", {}, path=path, content_hash="h")
    await store.runs.put_effect(run.id, "other kind", "post", {})

    assert await store.runs.own_files(agent.id) == {(path, "h")}
    assert await store.runs.own_files(other.id) == set()


async def test_incidents_are_told_newest_first_and_old_ones_make_room(store: Store, clock: FakeClock) -> None:
    for number in range(KEPT + 2):
        await store.incidents.add("watchdog", f"number {number}", clock.now() + timedelta(seconds=number))

    newest = await store.incidents.list(limit=2)
    assert [incident.detail for incident in newest] == [f"number {KEPT + 1}", f"number {KEPT}"]
    assert (newest[0].kind, newest[0].at) == ("watchdog", clock.now() + timedelta(seconds=KEPT + 1))
    everything = await store.incidents.list(limit=2 * KEPT)
    assert (len(everything), everything[-1].detail) == (KEPT, "number 2")
