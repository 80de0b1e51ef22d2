"""A run done again: from its beginning, or as a replay that takes what was recorded and asks the model anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.core import Agent, AgentKind, NewOccurrence, RunStatus, StepKind
from agents.errors import Conflict, NotFound
from agents.runs.replay import Repeater
from agents.runs.workflows import do_work
from agents.storage import Store
from agents.storage.retention import _forget_outputs
from agents.triggers import TriggerKind
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock, definition_of
from tests.agents.runs.houses import DOCUMENT, first_choice, house, record


@pytest.fixture
def document(folder: Path) -> Path:
    path = folder / "spring.md"
    path.write_text(DOCUMENT)
    return path


def repeater(store: Store, clock: FakeClock) -> Repeater:
    return Repeater(store=store, clock=clock, poke=lambda: None)


async def test_a_replay_takes_what_was_read_and_asks_the_model_anew(
    store: Store, clock: FakeClock, agent: Agent, document: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    other.touch()
    run = await record(store, agent, document, clock)
    engine = ScriptedEngine(first_choice)
    async with house(store, clock, engine) as made:
        await made.until(run, RunStatus.SUCCEEDED)
        document.write_text("Something else altogether stands here now.")
        replay = await repeater(store, clock).replay(run.id, model=str(other))
        made.manager.poke()
        done = await made.until(replay, RunStatus.SUCCEEDED)
    assert len(engine.requests) == 2
    assert engine.requests[1].messages == engine.requests[0].messages
    assert (done.replay_of, done.title) == (run.id, "Spring")
    steps = {step.key: step for step in await store.runs.steps(replay.id)}
    assert steps["read"].output == (await store.runs.steps(run.id))[0].output
    both = await repeater(store, clock).side_by_side(replay.id)
    assert (both.original.run.id, both.replay.run.id) == (run.id, replay.id)
    assert both.original.result is not None
    assert both.replay.result is not None
    assert both.original.result.summary == both.replay.result.summary


async def test_a_run_whose_outputs_were_forgotten_is_not_replayed_but_can_be_done_anew(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await made.until(run, RunStatus.SUCCEEDED)
    writer = store.retention._writer
    assert (await writer.write(lambda db: _forget_outputs(db, 2**62))).outputs == 1
    with pytest.raises(Conflict, match=f"`hearth runs retry {run.id}`"):
        await repeater(store, clock).replay(run.id)
    assert (await repeater(store, clock).retry(run.id)).retry_of == run.id


async def test_a_replay_changes_nothing_outside(
    store: Store, clock: FakeClock, folder: Path, document: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    agent = await store.agents.add(replace(definition_of(folder), write_folder=out), "source")
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await made.until(run, RunStatus.SUCCEEDED)
        [path] = out.iterdir()
        path.unlink()
        replay = await repeater(store, clock).replay(run.id)
        made.manager.poke()
        await made.until(replay, RunStatus.SUCCEEDED)
    assert list(out.iterdir()) == []
    assert await store.runs.effects(replay.id) == []
    effect = next(step for step in await store.runs.steps(replay.id) if step.kind is StepKind.EFFECT)
    assert effect.output == {"path": str(path), "sha256": effect.output["sha256"]}


async def test_a_replay_on_an_older_revision_follows_that_one(
    store: Store, clock: FakeClock, folder: Path
) -> None:
    definition = replace(definition_of(folder), kind=AgentKind.WRITE, instructions="Be kind.")
    agent = await store.agents.add(definition, "source")
    await store.agents.revise(agent.id, replace(definition, instructions="Be brief."), "source")
    new = NewOccurrence(
        agent_id=agent.id, trigger=TriggerKind.WEBHOOK, key="x", due_at=clock.now(), input={"order": 17}
    )
    run = await store.runs.record(new)
    assert run is not None
    engine = ScriptedEngine(lambda _: "Hello.")
    async with house(store, clock, engine, do_work) as made:
        first = await made.until(run, RunStatus.SUCCEEDED)
        clock.advance(86_400)
        replay = await repeater(store, clock).replay(run.id, revision=1)
        made.manager.poke()
        await made.until(replay, RunStatus.SUCCEEDED)
    now, then = engine.requests[0].messages, engine.requests[1].messages
    assert now[0].content.startswith("Be brief.")
    assert then[0].content.startswith("Be kind.")
    assert "order: 17" in then[1].content
    assert first.started_at is not None
    told = first.started_at.astimezone().strftime("it is now %H:%M on %A")
    assert told in then[1].content  # the hour is that of the run, not of the replay
    with pytest.raises(NotFound, match="no revision 7"):
        await repeater(store, clock).replay(run.id, revision=7)


async def test_a_retry_reads_the_file_as_it_is_now(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    document.write_text("")
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await made.until(run, RunStatus.FAILED)
        document.write_text(DOCUMENT)
        again = await repeater(store, clock).retry(run.id)
        made.manager.poke()
        done = await made.until(again, RunStatus.SUCCEEDED)
    assert (done.retry_of, done.title) == (run.id, "Spring")


async def test_a_storm_that_is_retried_tells_of_the_same_files(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    new = NewOccurrence(agent_id=agent.id, trigger=TriggerKind.FILE_CHANGED, key="s", due_at=clock.now())
    run = await store.runs.record(new, files=[(document, "0" * 64, 5)])
    assert run is not None
    async with house(store, clock, ScriptedEngine([]), do_work) as made:
        await made.until(run, RunStatus.SUCCEEDED)
        again = await repeater(store, clock).retry(run.id)
        made.manager.poke()
        done = await made.until(again, RunStatus.SUCCEEDED)
    assert done.title == "1 new file at once"


async def test_only_a_run_that_has_ended_and_is_no_replay_can_be_done_again(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    again = repeater(store, clock)
    with pytest.raises(Conflict, match="is still pending"):
        await again.retry(run.id)
    with pytest.raises(Conflict, match="is no replay"):
        await again.side_by_side(run.id)
    await store.runs.cancel_pending(run.id, "Enough.")
    replay = await again.replay(run.id)
    await store.runs.cancel_pending(replay.id, "Enough.")
    with pytest.raises(Conflict, match="is a replay itself"):
        await again.replay(replay.id)
