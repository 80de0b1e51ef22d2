"""Each due time is handled once, and a run ends together with all that belongs to it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agents.core import (
    FILE_GONE,
    Agent,
    FileState,
    NewOccurrence,
    NewResult,
    Run,
    RunStatus,
    StepKind,
    StepStatus,
    StepUsage,
)
from agents.errors import Conflict, NotFound
from agents.storage import Store
from tests.agents.conftest import FakeClock, definition_of
from tests.agents.storage.databases import DUE, occurrence

RESULT = NewResult(title="A title", summary="A summary", action_items=("one", "two"), category="letter")
USAGE = StepUsage(prompt_tokens=100, completion_tokens=20, prefill_s=0.5, decode_s=0.5)


@pytest.fixture
async def run(store: Store, agent: Agent) -> Run:
    recorded = await store.runs.record(occurrence(agent.id, "a", path=Path("/inbox/a.txt"), content_hash="h"))
    assert recorded is not None
    return recorded


@pytest.fixture
async def running(store: Store, run: Run) -> Run:
    return await store.runs.begin(run.id, owner="me", model="smol")


def state_of(path: Path, content_hash: str = "h") -> FileState:
    return FileState(
        path=path,
        size_bytes=3,
        mtime_ns=1_700_000_000_000_000_001,
        inode=2**64 - 1,
        content_hash=content_hash,
    )


# --- occurrences ---


async def test_a_due_time_is_a_pending_run_before_anything_happens(
    run: Run, agent: Agent, clock: FakeClock
) -> None:
    assert (run.status, run.attempt, run.reason, run.model, run.title) == (
        RunStatus.PENDING,
        0,
        None,
        None,
        None,
    )
    assert (run.agent_id, run.agent_name, run.revision_id) == (agent.id, agent.name, agent.revision_id)
    assert (run.path, run.content_hash) == (Path("/inbox/a.txt"), "h")
    assert (run.due_at, run.created_at) == (DUE, clock.now())
    assert (run.started_at, run.finished_at, run.tokens_per_s) == (None, None, None)


async def test_fifty_claims_of_one_due_time_make_one_run(store: Store, agent: Agent) -> None:
    claims = await asyncio.gather(*(store.runs.record(occurrence(agent.id, "same")) for _ in range(50)))

    assert len([claim for claim in claims if claim is not None]) == 1
    assert len(await store.runs.list()) == 1


async def test_two_agents_may_handle_the_same_file(store: Store, agent: Agent) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")

    for owner in (agent, other):
        assert await store.runs.record(occurrence(owner.id, "same")) is not None


async def test_a_files_state_is_stored_with_its_run_and_also_when_the_run_is_there_already(
    store: Store, agent: Agent
) -> None:
    path = Path("/inbox/a.txt")
    assert await store.runs.record(occurrence(agent.id, "a", path=path), file_state=state_of(path, "one"))
    assert await store.files.known(agent.id) == {path: state_of(path, "one")}

    assert (
        await store.runs.record(occurrence(agent.id, "a", path=path), file_state=state_of(path, "two"))
        is None
    )
    assert await store.files.known(agent.id) == {path: state_of(path, "two")}


async def test_names_that_are_not_text_are_told_apart_and_come_back(store: Store, agent: Agent) -> None:
    names = [Path(os.fsdecode(raw)) for raw in (b"/in/\xff", b"/in/\xfe", "/in/ÿ".encode(), b"/in/\\xff")]
    for path in names:
        new = occurrence(agent.id, f"file:{path}:h", path=path, content_hash="h")
        assert await store.runs.record(new, file_state=state_of(path)) is not None
        assert await store.runs.record(new) is None

        await fail(store, occurrence(agent.id, f"lost:{path}", path=path, content_hash="h"))

    assert set(await store.files.known(agent.id)) == set(names)
    assert {path for path, _ in await store.runs.lost_versions(agent.id)} == set(names)
    assert [run.path for run in await store.runs.list()][1::2] == names[::-1]
    await store.files.forget(agent.id, names[0])
    assert set(await store.files.known(agent.id)) == set(names[1:])


async def read_of(store: Store, new: NewOccurrence) -> Run:
    """A run that has just kept its file's text."""
    run = await store.runs.record(new)
    assert run is not None
    await store.runs.begin(run.id, owner="me", model="m")
    step = await store.runs.begin_step(run.id, key="read", kind=StepKind.READ, title="Read")
    await store.runs.finish_step(step.id, output="text", detail=None, usage=StepUsage())
    return run


async def test_content_that_was_read_is_known_for_its_own_agent_only(store: Store, agent: Agent) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    for number, key in enumerate(("a", "b")):
        run = await read_of(store, occurrence(agent.id, key, path=Path(f"/{number}"), content_hash="h"))
        await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)
    await read_of(store, occurrence(agent.id, "again", path=Path("/0"), content_hash="h"))
    await read_of(store, occurrence(agent.id, "no file", content_hash="h"))

    assert await store.runs.handled_elsewhere(agent.id, "h") == [Path("/0"), Path("/1")]
    assert await store.runs.handled_elsewhere(agent.id, "other") == []
    assert await store.runs.handled_elsewhere(other.id, "h") == []


async def test_content_counts_as_read_once_a_run_has_kept_it_and_not_before(
    store: Store, agent: Agent
) -> None:
    async def known() -> bool:
        return await store.runs.handled_elsewhere(agent.id, "h") == [Path("/a")]

    run = await store.runs.record(occurrence(agent.id, "a", path=Path("/a"), content_hash="h"))
    assert run is not None
    assert not await known()
    await store.runs.begin(run.id, owner="me", model="m")
    step = await store.runs.begin_step(run.id, key="read", kind=StepKind.READ, title="Read")
    assert not await known()
    await store.runs.finish_step(step.id, output="text", detail=None, usage=StepUsage())
    assert await known()
    await store.runs.give_back(run.id)
    assert await known(), "the next start goes on with the text that was kept"
    await store.runs.begin(run.id, owner="me", model="m")
    await store.runs.finish(run.id, RunStatus.FAILED, reason="No.")
    assert not await known()


async def fail(store: Store, new: NewOccurrence, code: str | None = FILE_GONE) -> Run:
    run = await store.runs.record(new)
    assert run is not None
    await store.runs.begin(run.id, owner="me", model="m")
    return await store.runs.finish(run.id, RunStatus.FAILED, reason="It is gone.", code=code)


async def test_a_version_that_was_gone_runs_again_once_and_the_failed_run_stays(
    store: Store, agent: Agent
) -> None:
    new = occurrence(agent.id, "a", path=Path("/a"), content_hash="h")
    failed = await fail(store, new)
    assert await store.runs.lost_versions(agent.id) == {(Path("/a"), "h")}

    again = await store.runs.record(new)

    assert again is not None
    assert (again.status, again.path, again.id > failed.id) == (RunStatus.PENDING, Path("/a"), True)
    assert await store.runs.get(failed.id) == failed
    assert await store.runs.record(new) is None
    assert await store.runs.lost_versions(agent.id) == set()


@pytest.mark.parametrize("code", [None, "document"])
async def test_a_version_that_failed_otherwise_does_not_run_again(
    store: Store, agent: Agent, code: str | None
) -> None:
    new = occurrence(agent.id, "a", path=Path("/a"), content_hash="h")
    await fail(store, new, code)
    assert await store.runs.lost_versions(agent.id) == set()
    assert await store.runs.record(new) is None


async def test_a_version_that_was_gone_is_not_missed_once_it_was_read_under_another_name(
    store: Store, agent: Agent
) -> None:
    await fail(store, occurrence(agent.id, "a", path=Path("/a"), content_hash="h"))
    run = await read_of(store, occurrence(agent.id, "b", path=Path("/b"), content_hash="h"))
    assert await store.runs.lost_versions(agent.id) == {(Path("/a"), "h")}
    await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)
    assert await store.runs.lost_versions(agent.id) == set()


async def test_only_a_failed_run_has_a_code(store: Store, agent: Agent) -> None:
    run = await read_of(store, occurrence(agent.id, "a"))
    with pytest.raises(ValueError, match="only a failed run has a code"):
        await store.runs.finish(run.id, RunStatus.SUCCEEDED, code=FILE_GONE, result=RESULT)


# --- the queue ---


async def test_the_run_that_is_due_for_longest_is_next(store: Store, agent: Agent) -> None:
    for key, hours in (("late", 2), ("early", -1), ("middle", 1)):
        await store.runs.record(replace(occurrence(agent.id, key), due_at=DUE + timedelta(hours=hours)))

    following = await store.runs.next_pending()

    assert following is not None
    assert following.due_at == DUE - timedelta(hours=1)


async def test_runs_of_a_paused_agent_wait(store: Store, agent: Agent, run: Run) -> None:
    await store.agents.set_paused(agent.id, True)
    assert await store.runs.next_pending() is None

    await store.agents.set_paused(agent.id, False)
    assert await store.runs.next_pending() == run


async def test_a_run_in_work_is_not_next(store: Store, running: Run) -> None:
    assert await store.runs.next_pending() is None


# --- beginning, stopping, recovering ---


async def test_beginning_counts_attempts_and_notes_the_model(
    store: Store, run: Run, clock: FakeClock
) -> None:
    clock.advance(5)
    first = await store.runs.begin(run.id, owner="me", model="smol")
    assert (first.status, first.attempt, first.model) == (RunStatus.RUNNING, 1, "smol")
    assert first.started_at == clock.now()

    waiting = await store.runs.give_back(run.id)
    assert (waiting.status, waiting.attempt, waiting.started_at) == (RunStatus.PENDING, 1, None)

    clock.advance(5)
    second = await store.runs.begin(run.id, owner="me", model="big")
    assert (second.attempt, second.model, second.started_at) == (2, "big", clock.now())


async def test_a_stop_interrupts_the_open_step_and_keeps_the_finished_one(store: Store, running: Run) -> None:
    read = await store.runs.begin_step(running.id, key="read", kind=StepKind.READ, title="Read")
    await store.runs.finish_step(read.id, output="text", detail=None, usage=StepUsage())
    await store.runs.begin_step(running.id, key="model", kind=StepKind.MODEL, title="Think")

    await store.runs.give_back(running.id)

    statuses = [step.status for step in await store.runs.steps(running.id)]
    assert statuses == [StepStatus.SUCCEEDED, StepStatus.INTERRUPTED]


async def test_a_start_recovers_what_another_runtime_left_running_and_nothing_else(
    store: Store, agent: Agent, running: Run
) -> None:
    step = await store.runs.begin_step(running.id, key="model", kind=StepKind.MODEL, title="Think")
    mine = await store.runs.record(occurrence(agent.id, "mine"))
    done = await store.runs.record(occurrence(agent.id, "done"))
    assert mine is not None
    assert done is not None
    await store.runs.begin(mine.id, owner="new", model="m")
    await store.runs.begin(done.id, owner="me", model="m")
    await store.runs.finish(done.id, RunStatus.SUCCEEDED, result=RESULT)

    recovered = await store.runs.recover("new")

    assert [(run.id, run.status, run.attempt) for run in recovered] == [(running.id, RunStatus.PENDING, 1)]
    assert [found.status for found in await store.runs.steps(running.id)] == [StepStatus.INTERRUPTED]
    with pytest.raises(Conflict):
        await store.runs.finish_step(step.id, output=1, detail=None, usage=USAGE)
    assert (await store.runs.get(mine.id)).status is RunStatus.RUNNING
    assert (await store.runs.get(done.id)).status is RunStatus.SUCCEEDED
    assert await store.runs.recover("new") == []


# --- ending ---


async def test_success_is_run_result_and_last_step_at_once(
    store: Store, running: Run, clock: FakeClock
) -> None:
    model = await store.runs.begin_step(running.id, key="model", kind=StepKind.MODEL, title="Think")
    await store.runs.finish_step(model.id, output={}, detail=None, usage=USAGE)
    await store.runs.begin_step(running.id, key="combine", kind=StepKind.MODEL, title="Combine")
    clock.advance(9)

    run = await store.runs.finish(running.id, RunStatus.SUCCEEDED, result=RESULT)

    assert (run.status, run.reason, run.title, run.finished_at) == (
        RunStatus.SUCCEEDED,
        None,
        "A title",
        clock.now(),
    )
    assert (run.prompt_tokens, run.completion_tokens, run.tokens_per_s) == (100, 20, 20.0)
    assert [step.status for step in await store.runs.steps(run.id)] == [StepStatus.SUCCEEDED] * 2
    result = await store.runs.result_of(run.id)
    assert result is not None
    assert (result.title, result.summary, result.action_items, result.category) == (
        "A title",
        "A summary",
        ("one", "two"),
        "letter",
    )
    assert (result.run_id, result.agent_name, result.path) == (run.id, run.agent_name, Path("/inbox/a.txt"))
    assert await store.runs.results() == [result]


async def test_failure_has_a_reason_and_no_result(store: Store, running: Run) -> None:
    await store.runs.begin_step(running.id, key="read", kind=StepKind.READ, title="Read")

    run = await store.runs.finish(running.id, RunStatus.FAILED, reason="The file is empty.")

    assert (run.status, run.reason, run.title) == (RunStatus.FAILED, "The file is empty.", None)
    [step] = await store.runs.steps(run.id)
    assert (step.status, step.error) == (StepStatus.FAILED, "The file is empty.")
    assert await store.runs.result_of(run.id) is None


async def test_cancelling_interrupts_the_open_step(store: Store, running: Run) -> None:
    await store.runs.begin_step(running.id, key="read", kind=StepKind.READ, title="Read")

    run = await store.runs.finish(running.id, RunStatus.CANCELLED)

    assert (run.status, run.reason) == (RunStatus.CANCELLED, "Cancelled.")
    assert [step.status for step in await store.runs.steps(run.id)] == [StepStatus.INTERRUPTED]


async def test_a_pending_run_can_be_cancelled(store: Store, run: Run) -> None:
    cancelled = await store.runs.cancel_pending(run.id, "Not now.")

    assert (cancelled.status, cancelled.reason, cancelled.attempt) == (RunStatus.CANCELLED, "Not now.", 0)
    assert await store.runs.next_pending() is None


@pytest.mark.parametrize(
    ("status", "reason", "result"),
    [
        (RunStatus.SUCCEEDED, None, None),
        (RunStatus.FAILED, "Because.", RESULT),
        (RunStatus.FAILED, None, None),
        (RunStatus.PENDING, None, None),
        (RunStatus.RUNNING, None, None),
    ],
)
async def test_an_ending_that_says_too_little_is_a_bug(
    store: Store, running: Run, status: RunStatus, reason: str | None, result: NewResult | None
) -> None:
    with pytest.raises(ValueError, match="run"):
        await store.runs.finish(running.id, status, reason=reason, result=result)

    assert (await store.runs.get(running.id)).status is RunStatus.RUNNING


async def test_a_refused_change_names_both_states_and_changes_nothing(store: Store, run: Run) -> None:
    with pytest.raises(Conflict, match=rf"^Run {run.id} is pending; it can't become succeeded\.$"):
        await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)
    with pytest.raises(Conflict, match="is pending; it can't become pending"):
        await store.runs.give_back(run.id)
    await store.runs.begin(run.id, owner="me", model="m")
    with pytest.raises(Conflict, match="is running; it can't become running"):
        await store.runs.begin(run.id, owner="me", model="m")
    with pytest.raises(Conflict, match="is running; it can't become cancelled"):
        await store.runs.cancel_pending(run.id, "Late.")

    found = await store.runs.get(run.id)
    assert (found.status, found.attempt) == (RunStatus.RUNNING, 1)
    assert await store.runs.results() == []


async def test_two_endings_race_and_one_wins(store: Store, running: Run) -> None:
    endings = await asyncio.gather(
        store.runs.finish(running.id, RunStatus.SUCCEEDED, result=RESULT),
        store.runs.finish(running.id, RunStatus.CANCELLED),
        return_exceptions=True,
    )

    assert [type(ending) for ending in endings] == [Run, Conflict]
    assert (await store.runs.get(running.id)).status is RunStatus.SUCCEEDED


# --- steps ---


async def test_a_finished_step_is_returned_with_its_output_and_never_begun_again(
    store: Store, running: Run
) -> None:
    step = await store.runs.begin_step(running.id, key="read", kind=StepKind.READ, title="Read")
    assert (step.status, step.output, step.seq) == (StepStatus.RUNNING, None, 1)
    output = {"text": "å\n", "half": "\ud800", "pages": [1, None, 2.5]}
    finished = await store.runs.finish_step(step.id, output=output, detail="3 pages", usage=USAGE)
    await store.runs.give_back(running.id)
    await store.runs.begin(running.id, owner="me", model="m")

    again = await store.runs.begin_step(running.id, key="read", kind=StepKind.READ, title="Read")

    assert again == finished
    assert (again.output, again.detail, again.usage) == (output, "3 pages", USAGE)


@pytest.mark.parametrize("status", [StepStatus.FAILED, StepStatus.INTERRUPTED])
async def test_an_unfinished_step_is_begun_anew_in_its_place(
    store: Store, running: Run, clock: FakeClock, status: StepStatus
) -> None:
    first = await store.runs.begin_step(running.id, key="a", kind=StepKind.MODEL, title="One")
    await store.runs.begin_step(running.id, key="b", kind=StepKind.MODEL, title="Two")
    failed = await store.runs.fail_step(first.id, status=status, error="It broke.")
    assert (failed.status, failed.error, failed.finished_at) == (status, "It broke.", clock.now())
    clock.advance(3)

    again = await store.runs.begin_step(running.id, key="a", kind=StepKind.MODEL, title="One, again")

    assert (again.id, again.seq, again.title) == (first.id, 1, "One, again")
    assert (again.status, again.error, again.finished_at) == (StepStatus.RUNNING, None, None)
    assert again.started_at == clock.now()
    assert [step.key for step in await store.runs.steps(running.id)] == ["a", "b"]


async def test_only_finished_steps_count_as_cost(store: Store, running: Run) -> None:
    for key in ("a", "b"):
        step = await store.runs.begin_step(running.id, key=key, kind=StepKind.MODEL, title=key)
        await store.runs.finish_step(step.id, output=None, detail=None, usage=USAGE)
    await store.runs.begin_step(running.id, key="c", kind=StepKind.MODEL, title="c")

    run = await store.runs.get(running.id)

    assert (run.prompt_tokens, run.completion_tokens, run.model_s) == (200, 40, 2.0)


async def test_a_step_needs_a_run_in_work_and_ends_once(store: Store, run: Run) -> None:
    with pytest.raises(Conflict, match="is pending; it can't begin a step"):
        await store.runs.begin_step(run.id, key="a", kind=StepKind.READ, title="a")
    await store.runs.begin(run.id, owner="me", model="m")
    step = await store.runs.begin_step(run.id, key="a", kind=StepKind.READ, title="a")
    with pytest.raises(ValueError, match="does not fail as"):
        await store.runs.fail_step(step.id, status=StepStatus.SUCCEEDED, error="?")
    await store.runs.finish_step(step.id, output=1, detail=None, usage=StepUsage())

    with pytest.raises(Conflict, match="is succeeded; it can't become failed"):
        await store.runs.fail_step(step.id, status=StepStatus.FAILED, error="Late.")
    with pytest.raises(Conflict, match="is succeeded; it can't become succeeded"):
        await store.runs.finish_step(step.id, output=2, detail=None, usage=StepUsage())
    assert [found.output for found in await store.runs.steps(run.id)] == [1]


# --- lists ---


async def test_lists_come_newest_first_in_pages(store: Store, agent: Agent) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    ids = []
    for number in range(6):
        run = await store.runs.record(occurrence((agent, other)[number % 2].id, str(number)))
        assert run is not None
        ids.append(run.id)
        if number < 4:
            await store.runs.begin(run.id, owner="me", model="m")
            await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)

    async def listed(**query: object) -> list[int]:
        return [run.id for run in await store.runs.list(**query)]

    newest = ids[::-1]
    assert await listed() == newest
    assert await listed(limit=2) == newest[:2]
    assert await listed(limit=2, before=newest[1]) == newest[2:4]
    assert await listed(agent="OTHER") == newest[::2]
    assert await listed(status=RunStatus.PENDING) == newest[:2]
    assert await listed(agent=agent.name, status=RunStatus.PENDING) == [newest[1]]
    assert await listed(agent="nobody") == []
    results = await store.runs.results()
    assert [result.run_id for result in results] == newest[2:]
    assert await store.runs.results(limit=1, before=results[0].id) == [results[1]]
    assert [result.run_id for result in await store.runs.results(agent="other")] == [ids[3], ids[1]]
    counts = await store.runs.counts()
    assert counts == {status: {"pending": 2, "succeeded": 4}.get(status, 0) for status in RunStatus}
    assert (await store.runs.agent_counts(other.id))[RunStatus.SUCCEEDED] == 2
    last = await store.runs.last_run(other.id)
    assert last is not None
    assert last.id == ids[3]  # the newest two wait
    await store.runs.begin(ids[5], owner="me", model="m")
    last = await store.runs.last_run(other.id)
    assert last is not None
    assert (last.id, last.status) == (ids[5], RunStatus.RUNNING)


async def test_what_does_not_exist_is_named(store: Store, agent: Agent) -> None:
    for missing in (
        store.runs.get(9),
        store.runs.begin(9, owner="me", model="m"),
        store.runs.give_back(9),
        store.runs.finish(9, RunStatus.CANCELLED),
        store.runs.cancel_pending(9, "x"),
        store.runs.steps(9),
        store.runs.begin_step(9, key="a", kind=StepKind.READ, title="a"),
        store.runs.finish_step(9, output=1, detail=None, usage=USAGE),
    ):
        with pytest.raises(NotFound, match=r"^There is no .*\.$"):
            await missing
    assert await store.runs.last_run(agent.id) is None
    assert await store.runs.result_of(9) is None


async def test_text_that_a_model_broke_is_stored_with_a_mark(store: Store, running: Run) -> None:
    broken = NewResult(title="half \ud83d", summary="\udc00", action_items=("\ud83d\ude00",), category="x\0y")

    await store.runs.finish(running.id, RunStatus.SUCCEEDED, result=broken)

    [result] = await store.runs.results()
    assert (result.title, result.summary) == ("half \N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}")
    assert (result.action_items, result.category) == (("\N{GRINNING FACE}",), "x\0y")


# --- taking, trying again, telling others ---


async def test_a_run_that_must_wait_is_not_taken_before_its_time(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    first = await store.runs.record(occurrence(agent.id, "a"))
    second = await store.runs.record(occurrence(agent.id, "b"))
    assert first is not None
    assert second is not None
    assert await store.runs.next_not_before(clock.now()) is None
    await store.runs.begin(first.id, owner="me", model="m")
    step = await store.runs.begin_step(first.id, key="k", kind=StepKind.MODEL, title="t")
    not_before = clock.now() + timedelta(seconds=30)

    again = await store.runs.retry_later(first.id, reason="The engine is busy.", not_before=not_before)

    assert (again.status, again.reason, again.attempt, again.failures, again.not_before) == (
        RunStatus.PENDING,
        "The engine is busy.",
        1,
        1,
        not_before,
    )
    (failed,) = await store.runs.steps(first.id)
    assert (failed.id, failed.status, failed.error) == (step.id, StepStatus.FAILED, "The engine is busy.")
    assert await store.runs.next_pending() == second
    assert await store.runs.next_not_before(clock.now()) == not_before
    clock.advance(30)
    assert await store.runs.next_pending() == again
    begun = await store.runs.begin(first.id, owner="me", model="m")
    assert (begun.attempt, begun.failures, begun.not_before, begun.reason) == (2, 1, None, None)
    with pytest.raises(Conflict):
        await store.runs.retry_later(second.id, reason="Busy.", not_before=not_before)


async def test_a_removed_agents_run_is_not_tried_again(store: Store, agent: Agent, running: Run) -> None:
    await store.agents.remove(agent.id)
    ended = await store.runs.retry_later(running.id, reason="Busy.", not_before=DUE)
    assert (ended.status, ended.reason) == (RunStatus.CANCELLED, "Its agent was removed.")


async def test_as_many_runs_of_an_agent_are_taken_as_may_be_in_work(store: Store, agent: Agent) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    mine = [await store.runs.record(occurrence(agent.id, key)) for key in "abc"]
    theirs = await store.runs.record(occurrence(other.id, "a"))
    ids = [run.id for run in mine if run is not None]
    assert theirs is not None

    async def taken(**at_most: int) -> int | None:
        limits = {agent.id: at_most.get("mine", 1), other.id: at_most.get("theirs", 1)}
        run = await store.runs.next_pending(at_most=limits)
        return None if run is None else run.id

    assert await taken() == ids[0]
    await store.runs.begin(ids[0], owner="me", model="m")
    assert await taken() == theirs.id
    assert await taken(mine=2) == ids[1]
    run = await store.runs.next_pending(at_most={})
    assert run is not None
    assert run.id == theirs.id, "one, where nothing is said"
    assert await taken(theirs=0) is None
    run = await store.runs.next_pending()
    assert run is not None
    assert run.id == ids[1], "without limits nobody counts"


async def test_the_end_of_a_run_makes_others_due_in_the_same_moment(
    store: Store, agent: Agent, running: Run
) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    gone = await store.agents.add(definition_of(Path("/x"), name="Gone"), "s")
    await store.agents.remove(gone.id)
    followers = [occurrence(id_, f"result:{running.id}") for id_ in (other.id, other.id, gone.id)]
    with pytest.raises(ValueError, match="needs a reason"):
        await store.runs.finish(running.id, RunStatus.FAILED, followers=followers)
    assert await store.schedule.armed() == []

    await store.runs.finish(running.id, RunStatus.SUCCEEDED, result=RESULT, followers=followers)

    assert [(row.agent_id, row.key) for row in await store.schedule.armed()] == [
        (other.id, f"result:{running.id}")
    ]


@pytest.mark.parametrize("result", [RESULT, None])
async def test_an_unverified_run_may_have_a_result_and_always_says_why(
    store: Store, agent: Agent, running: Run, result: NewResult | None
) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        await store.runs.finish(running.id, RunStatus.UNVERIFIED, result=result)
    reason = "Nobody knows whether the file was written."

    run = await store.runs.finish(running.id, RunStatus.UNVERIFIED, reason=reason, result=result)

    assert (run.status, run.reason, run.title) == (
        RunStatus.UNVERIFIED,
        reason,
        None if result is None else result.title,
    )
    assert (await store.runs.occurrence_of(run.id)).status == RunStatus.UNVERIFIED
    assert run.finished_at is not None


async def test_unfinished_runs_come_in_the_order_in_which_they_were_due(store: Store, agent: Agent) -> None:
    late = await store.runs.record(replace(occurrence(agent.id, "a"), due_at=DUE + timedelta(minutes=1)))
    early = await store.runs.record(occurrence(agent.id, "b"))
    over = await store.runs.record(occurrence(agent.id, "c"))
    assert late is not None
    assert early is not None
    assert over is not None
    await store.runs.cancel_pending(over.id, "No.")
    await store.runs.begin(late.id, owner="me", model="m")

    assert [run.id for run in await store.runs.unfinished(agent.id)] == [early.id, late.id]


async def test_failures_are_counted_since_the_last_result_and_since_the_agent_was_let_run_again(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    async def end(status: RunStatus, *, replay_of: int | None = None) -> int:
        clock.advance(1)
        run = await store.runs.record(occurrence(agent.id, f"{clock.now()}"), replay_of=replay_of)
        assert run is not None
        await store.runs.begin(run.id, owner="me", model="m")
        result = RESULT if status is RunStatus.SUCCEEDED else None
        await store.runs.finish(run.id, status, reason=None if result else "No.", result=result)
        return await store.runs.failures_in_a_row(agent.id)

    failed, cancelled, succeeded = RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SUCCEEDED
    assert [await end(status) for status in (failed, cancelled, failed, succeeded, failed)] == [1, 1, 2, 0, 1]
    replays = [await end(status, replay_of=1) for status in (failed, succeeded)]
    assert replays == [1, 1], "another model's trouble, or luck, says nothing about the agent"
    await store.agents.set_paused(agent.id, True, reason="It failed too often.")
    assert (await store.agents.by_id(agent.id)).paused_reason == "It failed too often."
    assert await store.runs.failures_in_a_row(agent.id) == 1
    resumed = await store.agents.set_paused(agent.id, False)
    assert (resumed.paused, resumed.paused_reason) == (False, None)
    assert await store.runs.failures_in_a_row(agent.id) == 0
    assert await end(failed) == 1
    await store.agents.revise(agent.id, agent.definition, "better words")
    assert await store.runs.failures_in_a_row(agent.id) == 0


async def test_many_files_are_one_run_and_all_of_them_are_known_with_it(store: Store, agent: Agent) -> None:
    paths = [Path("/inbox/b"), Path("/inbox/a"), Path(os.fsdecode(b"/inbox/\xff"))]
    files = [(path, f"h{number}", number) for number, path in enumerate(paths)]
    states = [state_of(path) for path in paths]
    storm = occurrence(agent.id, "storm:1")

    run = await store.runs.record(storm, files=files, file_states=states)

    assert run is not None
    assert sorted(await store.runs.occurrence_files(run.occurrence_id)) == sorted(files)
    assert await store.files.known(agent.id) == {state.path: state for state in states}
    newer = [state_of(path, "newer") for path in paths]
    assert await store.runs.record(storm, files=files, file_states=newer) is None
    assert await store.files.known(agent.id) == {state.path: state for state in newer}
    assert len(await store.runs.occurrence_files(run.occurrence_id)) == len(files)


async def test_a_run_by_hand_may_follow_an_older_revision_and_say_what_it_repeats(
    store: Store, agent: Agent, running: Run
) -> None:
    await store.agents.revise(agent.id, agent.definition, "new words")
    await store.runs.finish(running.id, RunStatus.SUCCEEDED, result=RESULT)

    again = await store.runs.record(
        occurrence(agent.id, "again"), revision_id=running.revision_id, replay_of=running.id
    )
    retry = await store.runs.record(occurrence(agent.id, "retry"), retry_of=running.id)

    assert again is not None
    assert retry is not None
    assert (again.revision_id, again.replay_of, again.retry_of) == (running.revision_id, running.id, None)
    assert (retry.replay_of, retry.retry_of) == (None, running.id)
    assert retry.revision_id != running.revision_id


async def test_energy_and_cost_are_summed_and_never_made_up(store: Store, agent: Agent, running: Run) -> None:
    assert (running.energy_j, running.cost_usd) == (None, 0.0)
    for key, energy_j in (("a", None), ("b", 2.5), ("c", 1.5)):
        step = await store.runs.begin_step(running.id, key=key, kind=StepKind.MODEL, title=key)
        usage = replace(USAGE, energy_j=energy_j, cost_usd=0.25)
        step = await store.runs.finish_step(step.id, output=1, detail=None, usage=usage, route="local")
        assert (step.usage, step.route) == (usage, "local")

    run = await store.runs.get(running.id)
    assert (run.energy_j, run.cost_usd) == (4.0, 0.75)
