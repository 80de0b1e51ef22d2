"""Runs end with a status that is true, whatever ends them. Real store, scripted engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents import contract
from agents.core import Agent, AgentDefinition, NewResult, RunStatus, StepStatus
from agents.errors import Conflict, DiskFull
from agents.runs.context import RunContext
from agents.runs.dispatching import MAX_AT_ONCE
from agents.runs.manager import CANCELLED_BY_USER
from agents.runs.prefixes import prefix_names
from agents.runs.settling import INTERNAL_ERROR
from agents.storage import Store
from engine.core import Request
from engine.errors import EngineBusy, EngineDied, ModelSetAside
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock, definition_of, occurrence_of
from tests.agents.runs.houses import DOCUMENT, first_choice, house, record


@pytest.fixture
def document(folder: Path) -> Path:
    path = folder / "spring.md"
    path.write_text(DOCUMENT)
    return path


async def test_a_document_becomes_a_result_and_every_step_is_kept(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        done = await made.until(run, RunStatus.SUCCEEDED)
    result = await store.runs.result_of(run.id)
    assert result is not None
    assert (result.title, result.category) == ("Spring", "meeting notes")
    assert result.summary == (
        "The bill was 640 euros. Piotr must replace the valve. Ana will write the invitation."
    )
    assert result.action_items == ("Piotr must replace the valve.", "Ana will write the invitation.")
    steps = await store.runs.steps(run.id)
    assert [step.key for step in steps] == ["read", "split", "digest"]
    assert all(step.status is StepStatus.SUCCEEDED for step in steps)
    assert done.attempt == 1
    assert done.completion_tokens > 0


async def test_clients_are_told_of_every_change_in_order(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await made.until(run, RunStatus.SUCCEEDED)
    told = [
        (event.type, event.run.status if isinstance(event, contract.RunChanged) else None)
        for event in made.events
        if not isinstance(event, contract.RunProgress)
    ]
    assert told == [("run", "running"), *[("step", None)] * 6, ("run", "succeeded"), ("result", None)]
    assert made.noted == ["Document digest", "Document digest"]


async def test_a_long_document_is_noted_in_parts_and_combined(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    path = folder / "long.txt"
    path.write_text(
        "\n\n".join(f"Paragraph {i} tells of river number {i} at length. " * 12 for i in range(40))
    )
    run = await record(store, agent, path, clock)
    engine = ScriptedEngine(first_choice)
    async with house(store, clock, engine) as made:
        await made.until(run, RunStatus.SUCCEEDED)
    keys = [step.key for step in await store.runs.steps(run.id)]
    assert keys[:3] == ["read", "split", "part-1"]
    assert keys[-1] == "digest"
    parts = len(keys) - 3
    assert parts > 3
    assert len(engine.requests) == parts + 1


async def test_notes_that_do_not_fit_the_context_are_condensed_level_by_level(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    path = folder / "long.txt"
    path.write_text("\n\n".join(f"Paragraph {i} tells of river number {i} at length." for i in range(200)))
    run = await record(store, agent, path, clock)
    async with house(store, clock, ScriptedEngine(first_choice, n_ctx=1_200)) as made:
        await made.until(run, RunStatus.SUCCEEDED)
    keys = [step.key for step in await store.runs.steps(run.id)]
    assert any(key.startswith("level-1-") for key in keys)
    assert any(key.startswith("level-2-") for key in keys)


async def test_an_interrupted_run_goes_on_from_its_last_finished_step(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice, delay_s=5.0)) as made:
        await made.until(run, RunStatus.RUNNING)
        async with asyncio.timeout(5):
            while not made.engine.requests:
                await asyncio.sleep(0.01)
    given_back = await store.runs.get(run.id)
    assert given_back.status is RunStatus.PENDING
    document.write_text("Something else altogether stands here now.")
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        done = await made.until(run, RunStatus.SUCCEEDED)
    assert done.attempt == 2
    assert done.title == "Spring"  # the text was on disk: the file was not read again


async def test_a_run_that_a_dead_runtime_left_running_is_taken_up(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    await store.runs.begin(run.id, owner="dead", model="built-in")
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        done = await made.until(run, RunStatus.SUCCEEDED)
    assert done.attempt == 2


async def test_cancelling_ends_a_run_in_the_middle_of_an_answer(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    engine = ScriptedEngine(first_choice, delay_s=5.0)
    async with house(store, clock, engine) as made:
        await made.until(run, RunStatus.RUNNING)
        async with asyncio.timeout(5):
            while not engine.requests:
                await asyncio.sleep(0.01)
        cancelled = await made.manager.cancel(run.id)
    assert (cancelled.status, cancelled.reason) == (RunStatus.CANCELLED, CANCELLED_BY_USER)
    assert len(engine.cancelled) == 1
    assert not any(step.status is StepStatus.RUNNING for step in await store.runs.steps(run.id))
    with pytest.raises(Conflict, match="already cancelled"):
        await made.manager.cancel(run.id)


async def test_a_waiting_run_is_cancelled_without_being_begun(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    await store.agents.set_paused(agent.id, True)
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        cancelled = await made.manager.cancel(run.id)
    assert (cancelled.status, cancelled.attempt) == (RunStatus.CANCELLED, 0)


async def test_a_bad_file_fails_its_own_run_and_the_rest_goes_on(
    store: Store, clock: FakeClock, agent: Agent, document: Path, folder: Path
) -> None:
    empty = folder / "empty.txt"
    empty.touch()
    bad = await record(store, agent, empty, clock)
    clock.advance(1)
    good = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        failed = await made.until(bad, RunStatus.FAILED)
        await made.until(good, RunStatus.SUCCEEDED)
    assert failed.reason is not None
    assert "empty" in failed.reason
    assert [step.status for step in await store.runs.steps(bad.id)] == [StepStatus.FAILED]
    assert any(isinstance(event, contract.RunFailed) and event.notify for event in made.events)


async def test_a_file_that_changed_meanwhile_leaves_the_work_to_its_newer_version(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await store.runs.record(occurrence_of(agent, document, clock, content_hash="0" * 64))
    assert run is not None
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        ended = await made.until(run, RunStatus.CANCELLED)
    assert ended.reason is not None
    assert "newer version" in ended.reason


async def test_an_answer_beside_the_document_is_replaced_by_quotes(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    script = iter(
        [
            lambda _: json.dumps(
                {"category": "other", "title": "Mars", "summary": ["It cost 99 dollars."], "action_items": []}
            ),
            first_choice,
        ]
    )

    def answer_in_turn(request: Request) -> str:
        return next(script)(request)

    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(answer_in_turn)) as made:
        await made.until(run, RunStatus.SUCCEEDED)
    result = await store.runs.result_of(run.id)
    assert result is not None
    assert result.title == "Spring"


async def test_an_engine_that_gives_up_again_and_again_fails_the_run_with_its_reason(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    died = EngineDied("The engine ended twice.")
    async with house(store, clock, ScriptedEngine([died, died, died])) as made:
        for failures in (1, 2):
            while (waiting := await made.until(run, RunStatus.PENDING)).failures < failures:
                await asyncio.sleep(0.01)
            assert waiting.reason == "The engine ended twice."
            assert waiting.not_before is not None
            assert waiting.not_before > clock.now()
            clock.advance(1_000)
            made.manager.poke()
        failed = await made.until(run, RunStatus.FAILED)
    assert failed.reason == "The engine ended twice."
    assert (failed.attempt, failed.failures) == (3, 2)
    assert len(made.engine.requests) == 3


async def test_a_failure_that_passes_is_tried_again_from_the_last_finished_step(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    engine = ScriptedEngine([EngineBusy("Too much at once."), "unused"])
    async with house(store, clock, engine) as made:
        while (await store.runs.get(run.id)).failures == 0:
            await asyncio.sleep(0.01)
        document.write_text("Something else altogether stands here now.")
        engine._answer = first_choice
        clock.advance(60)
        made.manager.poke()
        done = await made.until(run, RunStatus.SUCCEEDED)
    assert done.title == "Spring"
    assert (done.attempt, done.failures) == (2, 1)


async def test_a_bug_in_a_workflow_fails_its_run_and_not_the_worker(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("private text of the user")

    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice), broken) as made:  # type: ignore[arg-type]
        failed = await made.until(run, RunStatus.FAILED)
    assert failed.reason == INTERNAL_ERROR


async def test_a_full_disk_is_told_once_and_the_run_goes_on_when_there_is_room(
    store: Store, clock: FakeClock, agent: Agent, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.runs.dispatching.RETRY_S", 0.05)
    full = True

    def only_with_room(call: Callable) -> Callable:
        async def wrapped(*args: object, **kwargs: object) -> object:
            if full:
                raise DiskFull("The disk is full; make room.")
            return await call(*args, **kwargs)

        return wrapped

    # Small rows still fit, such as the one that gives a run back; what a run stores does not.
    monkeypatch.setattr(store.runs, "finish", only_with_room(store.runs.finish))
    monkeypatch.setattr(store.meta, "set", only_with_room(store.meta.set))
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        async with asyncio.timeout(5):
            while not made.trouble:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert made.trouble == ["The disk is full; make room."]
        full = False
        await made.until(run, RunStatus.SUCCEEDED)
    assert made.trouble == ["The disk is full; make room.", None]
    assert len(made.engine.requests) == 1  # the finished steps were not done again


async def test_a_run_can_be_cancelled_from_the_moment_that_it_is_told(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    engine = ScriptedEngine(first_choice, delay_s=5.0)
    async with house(store, clock, engine) as made:
        async for event in made.bus.subscribe():
            if isinstance(event.data, contract.RunChanged) and event.data.run.status == "running":
                break
        cancelled = await made.manager.cancel(run.id)
    assert cancelled.status is RunStatus.CANCELLED


async def test_cancelling_at_any_moment_ends_a_run_as_cancelled_or_says_that_it_has_ended(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        for moment in range(30):
            clock.advance(1)
            new = occurrence_of(agent, document, clock, content_hash=None)
            run = await store.runs.record(replace(new, key=f"moment-{moment}"))
            assert run is not None
            made.manager.poke()
            await asyncio.sleep(moment / 2_000)
            try:
                ended = await made.manager.cancel(run.id)
            except Conflict:
                ended = await store.runs.get(run.id)
                assert ended.status is RunStatus.SUCCEEDED
            assert ended.status.is_final


async def test_runs_wait_while_their_model_is_set_aside_and_go_on_when_it_is_tried_again(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    engine = ScriptedEngine([ModelSetAside("It crashed three times."), "unused"])
    async with house(store, clock, engine) as made:
        async with asyncio.timeout(5):
            while made.manager.problem(agent.id) is None:
                await asyncio.sleep(0.01)
        assert made.manager.problem(agent.id) == "It crashed three times."
        assert (await made.until(run, RunStatus.PENDING)).status is RunStatus.PENDING
        await asyncio.sleep(0.1)
        assert len(engine.requests) == 1
        engine._answer = first_choice
        made.manager.release()
        await made.until(run, RunStatus.SUCCEEDED)
        assert made.manager.problem(agent.id) is None


async def test_a_folder_that_was_taken_away_is_not_read_by_runs_that_still_wait(
    store: Store, clock: FakeClock, agent: Agent, document: Path, tmp_path: Path
) -> None:
    run = await record(store, agent, document, clock)
    other = tmp_path / "other"
    other.mkdir()
    await store.agents.revise(agent.id, definition_of(other), "source")
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        ended = await made.until(run, RunStatus.CANCELLED)
    assert ended.reason is not None
    assert "may no longer read" in ended.reason


async def test_a_run_that_can_not_even_begin_fails_and_the_others_go_on(
    store: Store, clock: FakeClock, agent: Agent, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await record(store, agent, document, clock)
    definition = store.agents.definition
    broken = True

    async def definition_or_bug(revision_id: int) -> AgentDefinition:
        nonlocal broken
        if broken:
            broken = False
            raise ZeroDivisionError
        return await definition(revision_id)

    monkeypatch.setattr(store.agents, "definition", definition_or_bug)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        failed = await made.until(bad, RunStatus.FAILED)
    assert failed.reason == INTERNAL_ERROR


async def test_a_stop_does_not_wait_for_the_rest_after_a_bug(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.runs.dispatching.RETRY_S", 3_600.0)
    looking, stopped = asyncio.Event(), asyncio.Event()

    async def bug_after_the_stop(**_: object) -> None:
        looking.set()
        await stopped.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(store.runs, "next_pending", bug_after_the_stop)
    async with house(store, clock, ScriptedEngine(first_choice)) as made, asyncio.timeout(10):
        await looking.wait()
        stop = asyncio.create_task(made.manager.stop())
        await asyncio.sleep(0)
        stopped.set()
        await stop


async def test_what_is_fixed_of_an_agent_s_prompts_is_kept_under_its_id(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    engine = ScriptedEngine(first_choice)
    async with house(store, clock, engine) as made:
        run = await record(store, agent, document, clock)
        made.manager.poke()
        await made.until(run, RunStatus.SUCCEEDED)
    (request,) = engine.requests
    assert request.prefix is not None
    assert request.prefix.name == f"agent-{agent.id}-whole"
    assert request.prefix.name in prefix_names(agent.id)
    fixed, rest = request.messages[: request.prefix.n_messages], request.messages[request.prefix.n_messages :]
    text = document.read_text(encoding="utf-8")
    assert not any(text in message.content for message in fixed)
    assert [text.strip() in message.content for message in rest] == [True]


async def test_agents_work_side_by_side_and_each_does_one_run_after_another(
    store: Store, clock: FakeClock, folder: Path
) -> None:
    agents = [
        await store.agents.add(definition_of(folder, name=f"Agent {number}"), "source")
        for number in range(MAX_AT_ONCE + 2)
    ]
    at_work: list[int] = []
    most, done = 0, list[tuple[int, int]]()

    async def workflow(context: RunContext, _definition: AgentDefinition) -> NewResult:
        nonlocal most
        agent_id = context.run.agent_id
        assert agent_id not in at_work, "two runs of one agent at once"
        at_work.append(agent_id)
        most = max(most, len(at_work))
        await asyncio.sleep(0.05)
        at_work.remove(agent_id)
        done.append((agent_id, context.run.id))
        return NewResult(title="t", summary="s", action_items=(), category="c")

    async with house(store, clock, ScriptedEngine([]), workflow) as made:
        runs = []
        for number in range(3):
            path = folder / f"{number}.md"
            path.write_text(DOCUMENT)
            clock.advance(1)
            runs += [await record(store, agent, path, clock) for agent in agents]
        made.manager.poke()
        for run in runs:
            await made.until(run, RunStatus.SUCCEEDED)
    assert most == MAX_AT_ONCE
    for agent in agents:
        of_agent = [run_id for agent_id, run_id in done if agent_id == agent.id]
        assert of_agent == sorted(of_agent)
        assert len(of_agent) == 3
