"""What stops runs without ending them, and what ends them without asking: switch, sleep, power, limits, budgets, failures."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.contract import RunProgress
from agents.core import Agent, AgentDefinition, NewResult, Run, RunStatus
from agents.errors import DiskFull
from agents.policies import Budget, Overlap, OverlapPolicy, PowerClass, Retry, RunPolicy, TimeLimits
from agents.runs.context import RunContext
from agents.runs.dispatching import MAX_AT_ONCE
from agents.runs.manager import REPLACED
from agents.runs.retrying import GIVE_UP_AFTER
from agents.runs.stop_switch import STOPPED, STOPPED_KEY, StopSwitch
from agents.storage import Store
from agents.triggers import TriggerKind
from engine.core import Priority
from engine.errors import EngineError
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock, definition_of, occurrence_of
from tests.agents.runs.houses import DOCUMENT, House, first_choice, house, record


@pytest.fixture
def document(folder: Path) -> Path:
    path = folder / "spring.md"
    path.write_text(DOCUMENT)
    return path


async def with_policy(store: Store, folder: Path, name: str = "Agent", **policy: Any) -> Agent:
    definition = replace(definition_of(folder, name=name), policy=RunPolicy(**policy))
    return await store.agents.add(definition, "source")


async def some(store: Store, agent: Agent, document: Path, clock: FakeClock, count: int) -> list[Run]:
    runs = []
    for number in range(count):
        clock.advance(1)
        new = replace(occurrence_of(agent, document, clock), key=f"{agent.id}:{number}")
        run = await store.runs.record(new)
        assert run is not None
        runs.append(run)
    return runs


async def until_asked(made: House, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(made.engine.requests) < count:
            await asyncio.sleep(0.01)


# --- the switch ---


async def test_one_switch_stops_every_run_in_the_middle_of_its_answer(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice, delay_s=5.0)) as made:
        await until_asked(made)
        async with asyncio.timeout(1):
            await made.manager.stop_all()
        assert len(made.engine.cancelled) == 1
        assert (await store.runs.get(run.id)).status is RunStatus.PENDING
        made.manager.poke()
        await asyncio.sleep(0.1)
        assert len(made.engine.requests) == 1
        assert made.manager.problem(agent.id) == STOPPED
        assert made.manager.switch.stopped is not None
        made.engine._delay_s = 0.0
        await made.manager.resume_all()
        await made.until(run, RunStatus.SUCCEEDED)
        assert made.manager.switch.stopped is None


async def test_the_switch_outlives_the_runtime(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await made.manager.stop_all("Stopped for the demo.")
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await asyncio.sleep(0.1)
        assert (await store.runs.get(run.id)).attempt == 0
        assert made.manager.problem(agent.id) == "Stopped for the demo."
        await made.manager.resume_all()
        await made.until(run, RunStatus.SUCCEEDED)


async def test_on_a_full_disk_the_switch_holds_and_is_written_once_there_is_room(
    store: Store, clock: FakeClock, agent: Agent, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.runs.dispatching.RETRY_S", 0.02)
    write = store.meta.set
    room = asyncio.Event()

    async def only_with_room(key: str, value: str) -> None:
        if not room.is_set():
            raise DiskFull("The disk is full; make room.")
        await write(key, value)

    async def settled(made: House) -> None:
        async with asyncio.timeout(5):
            while not made.manager.switch.is_written:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(store.meta, "set", only_with_room)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        await made.manager.stop_all()
        assert made.manager.problem(agent.id) == STOPPED
        assert not made.manager.switch.is_written
        room.set()
        await settled(made)
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        assert made.manager.problem(agent.id) == STOPPED
        room.clear()
        await made.manager.resume_all()
        assert made.manager.problem(agent.id) is None
        room.set()
        await settled(made)
        await made.until(run, RunStatus.SUCCEEDED)
    assert not await store.meta.get(STOPPED_KEY)


async def test_before_sleep_runs_are_given_back_and_after_it_they_go_on(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice, delay_s=5.0)) as made:
        await until_asked(made)
        async with asyncio.timeout(2):
            await made.manager.park()
        assert (await store.runs.get(run.id)).status is RunStatus.PENDING
        made.engine._delay_s = 0.0
        made.manager.unpark()
        await made.until(run, RunStatus.SUCCEEDED)


# --- power ---


async def test_runs_whose_power_class_has_to_wait_say_why_and_others_go_on(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    waiting = await with_policy(store, folder, "Mains", power=PowerClass.AC_ONLY)
    free = await with_policy(store, folder, "Any")
    [held] = await some(store, waiting, document, clock, 1)
    [run] = await some(store, free, document, clock, 1)
    reasons = {PowerClass.AC_ONLY: "The computer runs on battery."}
    async with house(store, clock, ScriptedEngine(first_choice), why_paused=reasons.get) as made:
        await made.until(run, RunStatus.SUCCEEDED)
        assert (await store.runs.get(held.id)).attempt == 0
        assert made.manager.problem(waiting.id) == "The computer runs on battery."
        assert made.manager.problem(free.id) is None
        reasons.clear()
        made.manager.surroundings_changed()
        await made.until(held, RunStatus.SUCCEEDED)
        assert made.manager.problem(waiting.id) is None


async def test_a_run_whose_class_has_to_wait_is_given_back_while_the_engine_works_for_others(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder, power=PowerClass.AC_ONLY)
    [run] = await some(store, agent, document, clock, 1)
    reasons: dict[PowerClass, str] = {}
    engine = ScriptedEngine(first_choice, delay_s=5.0)
    async with house(store, clock, engine, why_paused=reasons.get) as made:
        await until_asked(made)
        reasons[PowerClass.AC_ONLY] = "The computer runs on battery."
        made.manager.surroundings_changed()
        await made.until(run, RunStatus.PENDING)


async def by_hand(store: Store, agent: Agent, document: Path, clock: FakeClock) -> Run:
    new = replace(occurrence_of(agent, document, clock), trigger=TriggerKind.MANUAL, key="by hand")
    run = await store.runs.record(new)
    assert run is not None
    return run


def nothing(_: PowerClass) -> None:
    return None


async def test_a_run_by_hand_goes_on_where_the_engines_hold_background_work(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    saving = dict.fromkeys(PowerClass, "The battery saver is on.")
    ordinary = await with_policy(store, folder, "Ordinary")
    asked = await with_policy(store, folder, "Asked for")
    [waits] = await some(store, ordinary, document, clock, 1)
    run = await by_hand(store, asked, document, clock)
    words = {"why_paused": saving.get, "why_paused_by_hand": nothing}
    async with house(store, clock, ScriptedEngine(first_choice), **words) as made:
        await made.until(run, RunStatus.SUCCEEDED)
        assert {request.priority for request in made.engine.requests} == {Priority.NORMAL}
        assert (await store.runs.get(waits.id)).attempt == 0


async def test_a_run_by_hand_that_is_in_work_when_the_engines_begin_to_hold_asks_anew(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder)
    run = await by_hand(store, agent, document, clock)
    reasons: dict[PowerClass, str] = {}
    engine = ScriptedEngine(first_choice, delay_s=5.0)
    words = {"why_paused": reasons.get, "why_paused_by_hand": nothing}
    async with house(store, clock, engine, **words) as made:
        await until_asked(made)
        assert engine.requests[-1].priority is Priority.BACKGROUND
        engine._delay_s = 0.0
        reasons.update(dict.fromkeys(PowerClass, "The battery saver is on."))
        made.manager.surroundings_changed()
        await made.until(run, RunStatus.SUCCEEDED)
        assert engine.requests[-1].priority is Priority.NORMAL


async def test_a_run_by_hand_does_not_wait_behind_a_run_of_its_agent_that_waits_for_power(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder, power=PowerClass.AC_ONLY)
    [waits] = await some(store, agent, document, clock, 1)
    clock.advance(1)
    run = await by_hand(store, agent, document, clock)
    words = {"why_paused": {PowerClass.AC_ONLY: "On battery."}.get, "why_paused_by_hand": nothing}
    async with house(store, clock, ScriptedEngine(first_choice), **words) as made:
        await made.until(run, RunStatus.SUCCEEDED)
        async with asyncio.timeout(5):
            while made.manager.problem(agent.id) != "On battery.":
                await asyncio.sleep(0.01)
        assert (await store.runs.get(waits.id)).attempt == 0


class Stalling:
    """Work that goes on once it may, and at once where somebody asked for it."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def __call__(self, context: RunContext, _: AgentDefinition) -> NewResult:
        self.begun += 1
        if context.run.trigger is not TriggerKind.MANUAL:
            await self.may_end.wait()
        return NewResult(title="Done", summary="Done.", action_items=(), category="note")

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.begun < count:
                await asyncio.sleep(0.01)


async def one_each(
    store: Store, folder: Path, document: Path, clock: FakeClock, count: int
) -> list[tuple[Agent, Run]]:
    """An agent with a pending run, so many times."""
    agents = [await with_policy(store, folder, f"Agent {number}") for number in range(count)]
    return [(agent, (await some(store, agent, document, clock, 1))[0]) for agent in agents]


async def statuses(store: Store, runs: list[Run]) -> list[RunStatus]:
    return [(await store.runs.get(run.id)).status for run in runs]


async def test_runs_that_stand_still_in_the_engine_make_way_for_a_run_by_hand(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    made_of = await one_each(store, folder, document, clock, MAX_AT_ONCE)
    held = [run for _, run in made_of]
    reasons: dict[PowerClass, str] = {}
    words = {"why_paused": reasons.get, "why_paused_by_hand": nothing}
    work = Stalling()
    async with house(store, clock, ScriptedEngine([]), work, **words) as made:
        await work.until_begun(MAX_AT_ONCE)
        reasons.update(dict.fromkeys(PowerClass, "A program fills the screen."))
        made.manager.surroundings_changed()
        run = await by_hand(store, made_of[0][0], document, clock)
        made.manager.poke()
        await made.until(run, RunStatus.SUCCEEDED)
        assert await statuses(store, held) == [RunStatus.PENDING] + [RunStatus.RUNNING] * (MAX_AT_ONCE - 1)
        reasons.clear()
        work.may_end.set()
        made.manager.surroundings_changed()
        for each in held:
            await made.until(each, RunStatus.SUCCEEDED)


async def test_while_work_is_throttled_one_run_begins_after_another_and_what_is_asked_for_beside_it(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    is_slow = True
    made_of = await one_each(store, folder, document, clock, 3)
    runs = [run for _, run in made_of]
    work = Stalling()
    async with house(store, clock, ScriptedEngine([]), work, is_throttled=lambda: is_slow) as made:
        await work.until_begun(1)
        asked_for = await by_hand(store, made_of[2][0], document, clock)
        made.manager.poke()
        await made.until(asked_for, RunStatus.SUCCEEDED)
        await asyncio.sleep(0.05)
        assert await statuses(store, runs) == [RunStatus.RUNNING, RunStatus.PENDING, RunStatus.PENDING]
        is_slow = False
        made.manager.surroundings_changed()
        await work.until_begun(4)
        assert await statuses(store, runs) == [RunStatus.RUNNING] * 3


async def test_a_low_battery_stops_a_run_by_hand_too(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder)
    run = await by_hand(store, agent, document, clock)
    reasons: dict[PowerClass, str] = {}
    async with house(store, clock, ScriptedEngine(first_choice, delay_s=5.0), why_paused=reasons.get) as made:
        await until_asked(made)
        reasons.update(dict.fromkeys(PowerClass, "The battery is low."))
        made.manager.surroundings_changed()
        await made.until(run, RunStatus.PENDING)


async def test_time_does_not_count_while_the_surroundings_hold_everything(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder, limits=TimeLimits(run_s=60.0), retry=Retry(attempts=1))
    [run] = await some(store, agent, document, clock, 1)
    reasons: dict[PowerClass, str] = {}
    engine = ScriptedEngine(first_choice, delay_s=0.05)
    async with house(store, clock, engine, why_paused=reasons.get) as made:
        await until_asked(made)
        reasons.update(dict.fromkeys(PowerClass, "The battery is low."))
        made.manager.surroundings_changed()
        clock.advance(3_600)
        await made.until(run, RunStatus.SUCCEEDED)


# --- time ---


async def hang(context: RunContext, _: AgentDefinition) -> NewResult:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_run_that_works_for_too_long_fails_and_says_which_limit_it_met(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder, limits=TimeLimits(run_s=60.0))
    [run] = await some(store, agent, document, clock, 1)
    async with house(store, clock, ScriptedEngine([]), hang) as made:
        await made.until(run, RunStatus.RUNNING)
        clock.advance(61)
        failed = await made.until(run, RunStatus.FAILED)
    assert failed.reason is not None
    assert "longer than its limit of 1 minute" in failed.reason


async def test_a_step_that_works_for_too_long_is_tried_again(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder, limits=TimeLimits(step_s=60.0), retry=Retry(attempts=2))
    [run] = await some(store, agent, document, clock, 1)
    engine = ScriptedEngine(first_choice, delay_s=30.0)
    async with house(store, clock, engine) as made:
        await until_asked(made)
        while not any(getattr(event, "type", "") == "progress" for event in made.events):
            await asyncio.sleep(0.01)  # its first sign: until then it waits in the engine's line
        clock.advance(61)
        waiting = await made.until(run, RunStatus.PENDING)
        assert waiting.failures == 1
        engine._delay_s = 0.0
        clock.advance(60)
        made.manager.poke()
        await made.until(run, RunStatus.SUCCEEDED)


# --- budgets ---


async def test_a_step_over_the_budget_is_not_begun_and_its_run_fails_with_the_remedy(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    agent = await with_policy(store, folder, budget=Budget(tokens_per_day=10))
    [run] = await some(store, agent, document, clock, 1)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        failed = await made.until(run, RunStatus.FAILED)
    assert failed.reason is not None
    assert "limit of 10 tokens a day" in failed.reason
    assert made.engine.requests == []
    assert failed.failures == 0  # it is not tried again today


async def test_what_an_answer_took_is_settled_and_the_house_s_limit_holds_for_all(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    one = await with_policy(store, folder, "One")
    two = await with_policy(store, folder, "Two")
    day = clock.now().astimezone().date()
    [first] = await some(store, one, document, clock, 1)
    async with house(store, clock, ScriptedEngine(first_choice)) as made:
        done = await made.until(first, RunStatus.SUCCEEDED)
        used = await store.budgets.used(one.id, day)
        assert used.tokens == done.prompt_tokens + done.completion_tokens
        await made.manager.house_budget.change(Budget(tokens_per_day=used.tokens + 1))
        [second] = await some(store, two, document, clock, 1)
        made.manager.poke()
        failed = await made.until(second, RunStatus.FAILED)
    assert failed.reason is not None
    assert "all agents together" in failed.reason


# --- overlap ---


async def test_an_agent_that_asks_for_it_has_so_many_runs_side_by_side(
    store: Store, clock: FakeClock, folder: Path, document: Path
) -> None:
    overlap = Overlap(policy=OverlapPolicy.PARALLEL, at_most=2)
    agent = await with_policy(store, folder, overlap=overlap)
    runs = await some(store, agent, document, clock, 5)
    at_work, most = 0, 0

    async def workflow(_: RunContext, __: AgentDefinition) -> NewResult:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.03)
        at_work -= 1
        return NewResult(title="t", summary="s", action_items=(), category="c")

    async with house(store, clock, ScriptedEngine([]), workflow) as made:
        for run in runs:
            await made.until(run, RunStatus.SUCCEEDED)
    assert most == 2


async def test_a_newer_run_takes_the_place_of_those_that_are_no_file_s(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    of_file = await record(store, agent, document, clock)
    old = []
    for number in range(2):
        clock.advance(1)
        new = replace(
            occurrence_of(agent, document, clock), key=f"due-{number}", path=None, trigger=TriggerKind.CRON
        )
        run = await store.runs.record(new)
        assert run is not None
        old.append(run)
    of_many_files = await store.runs.record(
        replace(occurrence_of(agent, document, clock), key="storm", path=None),
        files=[(document, "hash", 1)],
    )
    assert of_many_files is not None
    async with house(store, clock, ScriptedEngine([]), hang) as made:
        await made.until(of_file, RunStatus.RUNNING)
        await made.manager.replace(agent.id)
        assert (await store.runs.get(of_many_files.id)).status is RunStatus.PENDING
        ended = [await store.runs.get(run.id) for run in old]
        assert [(run.status, run.reason) for run in ended] == [(RunStatus.CANCELLED, REPLACED)] * 2
        assert (await store.runs.get(of_file.id)).status is RunStatus.RUNNING


# --- giving up ---


async def test_an_agent_whose_runs_fail_ten_times_in_a_row_is_paused_and_says_so(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    async def broken(_: RunContext, __: AgentDefinition) -> NewResult:
        raise EngineError("The model is out of order.")

    runs = await some(store, agent, document, clock, GIVE_UP_AFTER + 2)
    async with house(store, clock, ScriptedEngine([]), broken) as made:
        await made.until(runs[GIVE_UP_AFTER - 1], RunStatus.FAILED)
        async with asyncio.timeout(5):
            while not made.given_up:
                await asyncio.sleep(0.01)
        now = await store.agents.by_id(agent.id)
        assert now.paused
        [sentence] = made.given_up
        assert now.paused_reason == sentence
        assert "failed in a row" in sentence
        assert "The model is out of order." in sentence
        assert [incident.kind for incident in await store.incidents.list(10)] == ["agent_given_up"]
        assert (await store.runs.get(runs[GIVE_UP_AFTER].id)).status is RunStatus.PENDING


async def test_agents_that_are_stopped_while_they_are_let_go_on_stay_stopped(clock: FakeClock) -> None:
    written: list[str] = []
    gate = asyncio.Event()

    class SlowNotes:
        async def get(self, key: str) -> str | None:
            return None

        async def set(self, key: str, value: str) -> None:
            await gate.wait()
            written.append(value)

    switch = StopSwitch(SlowNotes(), clock)
    resuming = asyncio.create_task(switch.resume())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(switch.stop())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(resuming, stopping)
    assert written[-1]
    assert switch.stopped is not None


async def test_what_an_interrupted_answer_took_of_the_model_counts(
    store: Store, clock: FakeClock, agent: Agent, document: Path
) -> None:
    run = await record(store, agent, document, clock)
    async with house(store, clock, ScriptedEngine(first_choice, delay_s=0.02)) as made:
        day = clock.now().astimezone().date()
        async with asyncio.timeout(5):
            while not any(isinstance(event, RunProgress) for event in made.events):
                await asyncio.sleep(0.001)
        clock.advance(7)
        await asyncio.sleep(0.05)  # some more words
        await made.manager.stop_all()
        assert (await store.runs.get(run.id)).status is RunStatus.PENDING
        assert (await store.budgets.used(agent.id, day)).seconds == 7.0
