"""How a run's end is written: unverified where nobody knows, with the due times that it makes for others, and never left at work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.core import Agent, AgentDefinition, EffectKind, NewOccurrence, NewResult, Run, RunStatus
from agents.errors import Conflict
from agents.policies import Overlap, OverlapPolicy, RunPolicy
from agents.runs.context import RunContext
from agents.runs.effects import Found, Trace
from agents.runs.problems import Unverified
from agents.runs.result_file import WriteFile
from agents.runs.settling import INTERNAL_ERROR
from agents.storage import Store
from agents.triggers import TriggerKind
from engine.errors import EngineBusy, EngineError
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock, definition_of
from tests.agents.runs.houses import house, record

RESULT = NewResult(title="t", summary="s", action_items=(), category="c")


async def at_once(_: RunContext, __: AgentDefinition) -> NewResult:
    return RESULT


async def test_a_run_whose_effect_nobody_can_tell_of_is_unverified_and_has_its_result(
    store: Store, clock: FakeClock, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await store.agents.add(replace(definition_of(folder), write_folder=tmp_path / "out"), "source")
    run = await record(store, agent, folder / "a.md", clock)

    async def unknown(self: WriteFile, request: Any) -> Found:
        return Found(trace=Trace.UNKNOWN)

    monkeypatch.setattr(WriteFile, "find", unknown)
    monkeypatch.setattr(WriteFile, "is_idempotent", False)
    # What a runtime leaves that died between the intent and the outcome:
    await store.runs.begin(run.id, owner="dead", model="m")
    await store.runs.put_effect(run.id, "result-file", EffectKind.WRITE_FILE, {"path": "x", "sha256": "y"})
    async with house(store, clock, ScriptedEngine([]), at_once) as made:
        ended = await made.until(run, RunStatus.UNVERIFIED)
    assert ended.reason == WriteFile.doubt
    assert ended.title == "t"
    assert (await store.runs.effects(run.id))[0].outcome is None


async def test_doubt_about_an_effect_inside_the_work_has_no_result_to_show(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    async def doubtful(_: RunContext, __: AgentDefinition) -> NewResult:
        raise Unverified("Nobody knows whether the letter was sent.")

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), doubtful) as made:
        ended = await made.until(run, RunStatus.FAILED)
    assert ended.reason == "Nobody knows whether the letter was sent."


@pytest.mark.parametrize("fails", [False, True])
async def test_the_end_of_a_run_makes_others_due_in_the_same_moment(
    store: Store, clock: FakeClock, agent: Agent, folder: Path, fails: bool
) -> None:
    other = await store.agents.add(definition_of(folder, name="Other"), "source")
    asked: list[tuple[int, RunStatus, NewResult | None, str | None]] = []

    async def followers(
        run: Run, status: RunStatus, result: NewResult | None, reason: str | None
    ) -> Sequence[NewOccurrence]:
        asked.append((run.id, status, result, reason))
        return [
            NewOccurrence(
                agent_id=other.id, trigger=TriggerKind.RESULT, key=f"after:{run.id}", due_at=clock.now()
            )
        ]

    async def work(_: RunContext, __: AgentDefinition) -> NewResult:
        if fails:
            raise EngineError("The model is out of order.")
        return RESULT

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), work, followers=followers) as made:
        await made.until(run, RunStatus.FAILED if fails else RunStatus.SUCCEEDED)
    assert asked == [
        (run.id, RunStatus.FAILED, None, "The model is out of order.")
        if fails
        else (run.id, RunStatus.SUCCEEDED, RESULT, None)
    ]
    [armed] = await store.schedule.armed(other.id)
    assert (armed.key, armed.trigger) == (f"after:{run.id}", TriggerKind.RESULT)


async def test_a_bug_at_the_end_of_a_run_does_not_leave_it_at_work(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    calls = 0

    async def followers(*_: object) -> Sequence[NewOccurrence]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        return ()

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), at_once, followers=followers) as made:
        ended = await made.until(run, RunStatus.FAILED)
        await asyncio.sleep(0.05)
    assert ended.reason == INTERNAL_ERROR
    assert calls == 2


async def test_a_bug_that_meets_every_end_of_a_run_does_not_leave_it_at_work(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    async def followers(*_: object) -> Sequence[NewOccurrence]:
        raise ZeroDivisionError

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), at_once, followers=followers) as made:
        ended = await made.until(run, RunStatus.CANCELLED)
    assert ended.reason == INTERNAL_ERROR


async def test_a_run_that_is_cancelled_as_its_next_try_is_written_down_is_not_tried_again(
    store: Store, clock: FakeClock, agent: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def passing(_: RunContext, __: AgentDefinition) -> NewResult:
        raise EngineBusy("Too many wait.")

    is_writing, may_write = asyncio.Event(), asyncio.Event()
    retry_later = store.runs.retry_later

    async def slowly(*args: Any, **more: Any) -> Run:
        is_writing.set()
        await may_write.wait()
        return await retry_later(*args, **more)

    monkeypatch.setattr(store.runs, "retry_later", slowly)
    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), passing) as made:
        await is_writing.wait()
        cancelling = asyncio.create_task(made.manager.cancel(run.id))
        await asyncio.sleep(0)
        may_write.set()
        assert (await cancelling).status is RunStatus.CANCELLED
    assert (await store.runs.get(run.id)).status is RunStatus.CANCELLED


async def test_work_that_says_conflict_fails_its_run_and_is_not_begun_for_ever(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    begun = 0

    async def refuses(_: RunContext, __: AgentDefinition) -> NewResult:
        nonlocal begun
        begun += 1
        raise Conflict("That effect has another outcome already.")

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), refuses) as made:
        ended = await made.until(run, RunStatus.FAILED)
    assert (begun, ended.reason) == (1, "That effect has another outcome already.")


async def test_a_run_that_waits_again_is_not_taken_before_its_last_work_has_ended(
    store: Store, clock: FakeClock, folder: Path
) -> None:
    policy = RunPolicy(overlap=Overlap(policy=OverlapPolicy.PARALLEL, at_most=3))
    agent = await store.agents.add(replace(definition_of(folder), policy=policy), "source")
    begun = 0

    async def work(_: RunContext, __: AgentDefinition) -> NewResult:
        nonlocal begun
        begun += 1
        if begun == 1:
            await asyncio.Event().wait()
        return RESULT

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), work) as made:
        while not begun:
            await asyncio.sleep(0.01)
        is_telling, may_tell = asyncio.Event(), asyncio.Event()

        async def slowly(_: str) -> None:
            if not is_telling.is_set():
                is_telling.set()
                await may_tell.wait()

        made.manager._on_change = slowly
        [execution] = made.manager._dispatcher.executions.values()
        execution.give_back()
        await is_telling.wait()  # its row waits, and its end is still being told
        made.manager.poke()
        await asyncio.sleep(0.1)
        assert begun == 1
        may_tell.set()
        ended = await made.until(run, RunStatus.SUCCEEDED)
    assert (begun, ended.attempt) == (2, 2)


async def test_a_second_end_does_not_interrupt_what_the_first_lets_finish(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    said: list[str] = []

    async def work(_: RunContext, __: AgentDefinition) -> NewResult:
        said.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            said.append("what was spent is written down")
        return RESULT

    run = await record(store, agent, folder / "a.md", clock)
    async with house(store, clock, ScriptedEngine([]), work) as made:
        while not said:
            await asyncio.sleep(0.01)
        cancelling = asyncio.create_task(made.manager.cancel(run.id))
        await asyncio.sleep(0.01)
        await made.manager.park()
        assert (await cancelling).status is RunStatus.CANCELLED
    assert said == ["begun", "what was spent is written down"]
