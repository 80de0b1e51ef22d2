"""Old history is forgotten, outputs first; what is not over, or what something newer stands on, stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from agents.core import (
    Agent,
    GateOutcome,
    NewOccurrence,
    NewResult,
    OccurrenceStatus,
    Owner,
    Run,
    RunStatus,
    StepKind,
    StepUsage,
)
from agents.runs.budget import Amount
from agents.storage import Store
from agents.storage.driver import scalar
from agents.storage.retention import Forgotten
from agents.triggers import GateKind, TriggerKind
from tests.agents.conftest import FakeClock
from tests.agents.storage.databases import occurrence

RESULT = NewResult(title="A title", summary="A summary", action_items=(), category="letter")
ME = Owner(pid=1, started_at="1", boot_id="1")
CLOSED = GateOutcome(gate=GateKind.HOURS, key="hours:1", is_open=False, detail="It is night.")
WEEK = timedelta(days=7)


async def begun(store: Store, new: NewOccurrence, **options: int) -> Run:
    run = await store.runs.record(new, files=[(Path("/in/a"), "h", 1)], **options)  # type: ignore[arg-type]
    assert run is not None
    return await store.runs.begin(run.id, owner="me", model="m")


async def finished(store: Store, new: NewOccurrence, *, output: str = "text", **options: int) -> Run:
    """A run with a row in every table that a run can have rows in."""
    run = await begun(store, new, **options)
    step = await store.runs.begin_step(run.id, key="k", kind=StepKind.MODEL, title="t")
    await store.runs.finish_step(step.id, output=output, detail=None, usage=StepUsage())
    await store.runs.put_effect(run.id, "out", "write_file", {}, path=Path("/out/a"), content_hash="h")
    await store.budgets.reserve(run.id, run.agent_id, new.due_at.date(), Amount(tokens=1), ())
    return await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)


def due(agent: Agent, clock: FakeClock, key: str, *, timed: bool = False) -> NewOccurrence:
    new = replace(occurrence(agent.id, key), due_at=clock.now())
    return replace(new, trigger=TriggerKind.CRON, trigger_key="cron:1") if timed else new


async def ids(store: Store) -> set[int]:
    return {run.id for run in await store.runs.list(limit=1_000)}


async def count(store: Store, table: str) -> int:
    return await store._writer.read(lambda db: int(scalar(db, f"SELECT count(*) FROM {table}")))  # noqa: S608


async def test_old_runs_go_with_all_that_belongs_to_them(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    await finished(store, due(agent, clock, "old"))
    clock.advance(WEEK.total_seconds())
    young = await finished(store, due(agent, clock, "young"))

    assert await store.retention.prune(older_than=clock.now()) == Forgotten(runs=1)

    assert await ids(store) == {young.id}
    for table in ("occurrences", "steps", "results", "effects", "reservations", "occurrence_files"):
        assert await count(store, table) == 1, table
    assert (await store.runs.steps(young.id))[0].output == "text"
    assert await store.runs.own_files(agent.id) == {(Path("/out/a"), "h")}, (
        "its own files stay known for good"
    )
    assert await store.retention.prune(older_than=clock.now()) == Forgotten()


async def test_what_is_not_over_stays_however_old_it_is(store: Store, agent: Agent, clock: FakeClock) -> None:
    running = await begun(store, due(agent, clock, "running"))
    pending = await store.runs.record(due(agent, clock, "pending"))
    await store.schedule.plan([due(agent, clock, "scheduled", timed=True), due(agent, clock, "claimed")])
    (claimed,) = [row for row in await store.schedule.armed() if row.key == "claimed"]
    await store.schedule.claim([claimed.id], owner=ME, plan=())
    clock.advance(10 * WEEK.total_seconds())

    assert await store.retention.prune(older_than=clock.now(), keep_bytes=0) == Forgotten()

    assert pending is not None
    assert await ids(store) == {running.id, pending.id}
    assert {row.key for row in await store.schedule.list()} == {"running", "pending", "scheduled", "claimed"}


async def test_a_run_that_a_newer_one_was_made_from_stays_as_long_as_that_one(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    first = await finished(store, due(agent, clock, "first"))
    clock.advance(WEEK.total_seconds())
    again = await finished(store, due(agent, clock, "again"), retry_of=first.id)
    replay = await finished(store, due(agent, clock, "replay"), replay_of=again.id)

    assert await store.retention.prune(older_than=clock.now()) == Forgotten()
    clock.advance(1)
    assert await store.retention.prune(older_than=clock.now()) == Forgotten(runs=3)

    assert await ids(store) == set()
    assert replay.replay_of == again.id


async def test_the_newest_due_time_of_a_timed_trigger_stays_so_that_the_next_is_counted_from_it(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    for number in range(3):
        await finished(store, due(agent, clock, f"run {number}", timed=True))
        clock.advance(60)
        await store.schedule.record_missed([(due(agent, clock, f"missed {number}", timed=True), "Off.")])
        clock.advance(60)
    anchors = await store.schedule.anchors()
    clock.advance(WEEK.total_seconds())

    assert await store.retention.prune(older_than=clock.now()) == Forgotten(runs=3, dues=2)

    assert [row.key for row in await store.schedule.list()] == ["missed 2"]
    assert await store.schedule.anchors() == anchors


async def test_due_times_without_a_run_go_with_what_their_gates_said(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    row = await store.schedule.announce(due(agent, clock, "a"))
    assert row is not None
    (row,) = await store.schedule.claim([row.id], owner=ME, plan=())
    await store.schedule.end(
        row.id, fence=row.fence, status=OccurrenceStatus.SKIPPED, reason="Night.", gates=[CLOSED]
    )
    clock.advance(60)

    assert await store.retention.prune(older_than=clock.now()) == Forgotten(dues=1)

    assert await store.schedule.list() == []
    assert await store.schedule.gate_rows(row.id) == []
    assert (await store.schedule.wakings(agent.id)).free == 1


async def test_to_fit_a_size_nothing_of_a_run_goes_while_due_times_without_one_are_left(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    run = await finished(store, due(agent, clock, "run"), output="x" * 50_000)
    full = await store.retention.used_bytes()
    missed = [(due(agent, clock, f"missed {number}"), "Off. " * 100) for number in range(300)]
    await store.schedule.record_missed(missed)

    forgotten = await store.retention.prune(keep_bytes=full + 40_000)

    assert (forgotten.dues > 0, forgotten.outputs, forgotten.runs) == (True, 0, 0)
    assert (await store.runs.steps(run.id))[0].output is not None


async def test_to_fit_a_size_outputs_go_first_and_runs_only_if_that_was_not_enough(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    empty = await store.retention.used_bytes()
    runs = []
    for number in range(4):
        runs.append(await finished(store, due(agent, clock, f"{number}"), output="x" * 200_000))
        clock.advance(60)
    never = clock.now() - WEEK

    assert await store.retention.prune(older_than=never, keep_bytes=10**12) == Forgotten()
    assert (await store.runs.steps(runs[0].id))[0].output is not None
    assert await store.retention.prune(older_than=never, keep_bytes=empty + 400_000) == Forgotten(outputs=4)
    assert await store.retention.used_bytes() <= empty + 400_000
    assert [step.output for run in runs for step in await store.runs.steps(run.id)] == [None] * 4
    assert await ids(store) == {run.id for run in runs}

    assert await store.retention.prune(older_than=never, keep_bytes=0) == Forgotten(runs=4)
    assert await ids(store) == set()
