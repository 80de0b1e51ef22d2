"""A long history is read in pages: filters, words and moments find the right runs, and by indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from agents.core import Agent, NewOccurrence, NewResult, OccurrenceStatus, Run, RunStatus
from agents.definitions.limits import WORK_RANGE_S
from agents.storage import Store, run_search
from agents.storage.driver import rows
from agents.triggers import TriggerKind
from tests.agents.conftest import FakeClock, definition_of
from tests.agents.storage.databases import occurrence


async def run_of(
    store: Store,
    agent: Agent,
    clock: FakeClock,
    key: str,
    *,
    trigger: TriggerKind = TriggerKind.CRON,
    path: str = "",
) -> Run:
    """A pending run; a minute passes."""
    new = NewOccurrence(
        agent_id=agent.id, trigger=trigger, key=key, due_at=clock.now(), path=Path(path) if path else None
    )
    run = await store.runs.record(new)
    assert run is not None
    clock.advance(60)
    return run


async def done(
    store: Store, run: Run, clock: FakeClock, title: str, *, summary: str = "s", items: tuple[str, ...] = ()
) -> Run:
    """In work for an hour, then over."""
    await store.runs.begin(run.id, owner="me", model="m")
    clock.advance(3600)
    result = NewResult(title=title, summary=summary, action_items=items, category="c")
    return await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=result)


async def test_filters_leave_the_runs_that_meet_all_of_them(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    runs = [await run_of(store, agent, clock, f"{number}") for number in range(4)]
    by_hand = await run_of(store, agent, clock, "hand", trigger=TriggerKind.MANUAL)
    theirs = await run_of(store, other, clock, "theirs")
    await store.runs.cancel_pending(runs[1].id, "No.")

    async def found(**conditions: Any) -> list[int]:
        return [run.id for run in await store.runs.search(**conditions)]

    assert await found() == [theirs.id, by_hand.id, *(run.id for run in reversed(runs))]
    assert await found(agent="OTHER") == [theirs.id]
    assert await found(agent="nobody") == []
    assert await found(status=RunStatus.CANCELLED) == [runs[1].id]
    assert await found(trigger=TriggerKind.MANUAL) == [by_hand.id]
    assert await found(since=runs[1].created_at, until=runs[3].created_at) == [runs[2].id, runs[1].id]
    assert await found(agent=agent.name, status=RunStatus.PENDING, trigger=TriggerKind.CRON, limit=2) == [
        runs[3].id,
        runs[2].id,
    ]
    assert await found(agent=agent.name, before=runs[2].id) == [runs[1].id, runs[0].id]


async def test_a_removed_agents_runs_are_found_beside_those_of_its_successor(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    first = await run_of(store, agent, clock, "a")
    await store.agents.remove(agent.id)
    successor = await store.agents.add(agent.definition, "s")
    second = await run_of(store, successor, clock, "a")

    assert [run.id for run in await store.runs.search(agent=agent.name)] == [second.id, first.id]


@pytest.mark.parametrize(
    "text",
    [
        "INVOICE",
        "straße rechnung",
        "STRASSE",
        "пётр",
        "it's 100%",
        "report.pdf",
        "document DIGEST invoice",
        "  ",
        "café",
    ],
)
async def test_words_are_found_wherever_they_stand_and_however_they_are_written(
    store: Store, agent: Agent, clock: FakeClock, text: str
) -> None:
    run = await run_of(store, agent, clock, "a", path="/in/Report.PDF")
    await done(
        store,
        run,
        clock,
        "Rechnung: Invoice for Straße",
        summary="It's 100% of cafe\u0301",
        items=("Call Пётр", "pay"),
    )

    assert [found.id for found in await store.runs.search(text=text)] == [run.id]


@pytest.mark.parametrize("text", ["invoices", "invoice missing", "100_", "pyotr", "u041f"])
async def test_other_words_find_nothing(store: Store, agent: Agent, clock: FakeClock, text: str) -> None:
    run = await run_of(store, agent, clock, "a")
    await done(store, run, clock, "Invoice", summary="It is 100%", items=("Пётр",))

    assert await store.runs.search(text=text) == []


async def test_a_reason_is_searched_too_and_pages_go_on_where_the_last_one_ended(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    runs = [await run_of(store, agent, clock, f"{number}") for number in range(5)]
    for run in runs:
        await store.runs.cancel_pending(run.id, "Replaced by a newer run.")

    first = await store.runs.search(text="newer replaced", limit=2)
    rest = await store.runs.search(text="newer replaced", before=first[-1].id)

    assert [run.id for run in (*first, *rest)] == [run.id for run in reversed(runs)]


async def test_words_are_looked_for_in_a_window_that_pages_move(
    store: Store, agent: Agent, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = await run_of(store, agent, clock, "old")
    await store.runs.cancel_pending(oldest.id, "Wanted.")
    newer = [await run_of(store, agent, clock, f"{number}") for number in range(3)]
    monkeypatch.setattr(run_search, "SEARCH_WINDOW", 2)

    assert await store.runs.search(text="wanted") == []
    assert [run.id for run in await store.runs.search(text="wanted", before=newer[1].id)] == [oldest.id]


async def test_a_timeline_holds_what_was_in_work_between_two_moments(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    before = await done(store, await run_of(store, agent, clock, "before"), clock, "t")
    since = clock.now()
    within = await done(store, await run_of(store, agent, clock, "within"), clock, "t")
    across = await run_of(store, agent, clock, "across")
    await run_of(store, agent, clock, "never begun")
    await store.runs.begin(across.id, owner="me", model="m")
    until = clock.now() + timedelta(minutes=1)
    clock.advance(3600)

    async def ids(
        start: timedelta = timedelta(0), end: timedelta = timedelta(0), **options: int
    ) -> list[int]:
        return [run.id for run in await store.runs.timeline(since + start, until + end, **options)]

    assert await ids() == [across.id, within.id]
    assert await ids(limit=1) == [across.id]
    assert await ids(start=timedelta(minutes=-30)) == [across.id, within.id, before.id]
    assert await ids(timedelta(hours=2), timedelta(hours=3)) == [across.id], "it is still in work"
    half = timedelta(minutes=30)
    inside = await store.runs.timeline(since + half, since + half + timedelta(seconds=1))
    assert [run.id for run in inside] == [within.id], "longer than the window itself"


async def test_a_timeline_holds_runs_that_worked_for_as_long_as_an_agent_may_be_allowed(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    run = await run_of(store, agent, clock, "long")
    await store.runs.begin(run.id, owner="me", model="m")
    clock.advance(WORK_RANGE_S[1])
    await store.runs.finish(run.id, RunStatus.CANCELLED)
    seen = await store.runs.timeline(clock.now() - timedelta(hours=1), clock.now())
    assert [run.id for run in seen] == [run.id]


async def test_results_that_hold_all_words_are_counted(
    store: Store, agent: Agent, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.storage.run_store.REMEMBERED_AT_ONCE", 2)
    for number, title in enumerate(("Invoice of Grün", "invoice", "Letter to GRÜN", "INVOICE grün again")):
        await done(store, await run_of(store, agent, clock, f"{number}"), clock, title, items=("Pay",))

    assert await store.runs.count_remembered(["invoice"]) == 3
    assert await store.runs.count_remembered(["grün invoice"]) == 2
    assert await store.runs.count_remembered(["Invoice", "PAY"]) == 3
    assert await store.runs.count_remembered(["nobody"]) == 0
    assert await store.runs.count_remembered([]) == 4


@pytest.mark.parametrize(
    ("word", "is_there"),
    [
        ("foo", False),  # only as the beginning, the end and the middle of longer words
        ("ball", False),
        ("footballer", True),
        ("barfoo", True),
        ("e-mail", True),
        ("mail", True),
        ("c++", True),
        ("17", True),
        ("7", False),
        ("हिन", False),  # the mark after it belongs to the same word
        ("हिन्दी", True),
        ("会议", True),  # no spaces part the words of this script
    ],
)
async def test_what_is_remembered_is_looked_for_by_whole_words(
    store: Store, agent: Agent, clock: FakeClock, word: str, is_there: bool
) -> None:
    title = "Footballer barfoo, e-mail about C++ and no.17: हिन्दी 明天会议室"
    await done(store, await run_of(store, agent, clock, "1"), clock, title, items=("Pay",))
    assert await store.runs.count_remembered([word]) == int(is_there)


# --- by indexes ---


async def plans_of(store: Store, work: Callable[[], Awaitable[object]]) -> list[str]:
    """How SQLite goes about each query of some work."""
    asked: list[tuple[str, Any]] = []

    def listen(db: Database) -> Any:
        tracing = db.tracer(lambda sql, parameters: asked.append((sql, parameters)))
        tracing.__enter__()
        return tracing

    tracing = await store._writer.read(listen)
    try:
        await work()
    finally:
        await store._writer.read(lambda _: tracing.__exit__(None, None, None))

    def explain(db: Database) -> list[str]:
        return [
            str(row["detail"])
            for sql, parameters in asked
            if sql.lstrip().startswith(("SELECT", "WITH"))
            for row in rows(db, f"EXPLAIN QUERY PLAN {sql}", parameters or ())
        ]

    return await store._writer.read(explain)


QUERIES: dict[str, tuple[Callable[[Store, FakeClock], Awaitable[object]], str]] = {
    "the next pending run": (lambda store, _: store.runs.next_pending(at_most={1: 2}), "runs_pending"),
    "what is due": (lambda store, clock: store.schedule.due(clock.now(), limit=200), "occurrences_scheduled"),
    "the next due time": (lambda store, _: store.schedule.next_due(), "occurrences_scheduled"),
    "what is overdue": (lambda store, clock: store.schedule.overdue(clock.now()), "occurrences_scheduled"),
    "anchors": (lambda store, _: store.schedule.anchors(), "occurrences_of_trigger"),
    "a page of an agent": (lambda store, _: store.runs.search(agent="Document digest"), "runs_of_agent"),
    "results of an agent": (lambda store, _: store.runs.results(agent="Document digest"), "results_of_agent"),
    "a page of a status": (lambda store, _: store.runs.search(status=RunStatus.FAILED), "runs_by_status"),
    "runs of a day": (
        lambda store, clock: store.runs.search(since=clock.now() - timedelta(days=1), until=clock.now()),
        "runs_by_creation",
    ),
    "a timeline": (
        lambda store, clock: store.runs.timeline(clock.now() - timedelta(days=1), clock.now()),
        "runs_by_start",
    ),
    "due times of an agent": (
        lambda store, _: store.schedule.list(agent="Document digest"),
        "occurrences_of_agent",
    ),
    "missed due times": (
        lambda store, _: store.schedule.list(status=OccurrenceStatus.MISSED),
        "occurrences_by_status",
    ),
    "runs of an hour": (
        lambda store, clock: store.schedule.runs_since(1, clock.now()),
        "runs_by_creation",
    ),
    "counts of an agent": (lambda store, _: store.runs.agent_counts(1), "runs_by_agent"),
    "the last run of an agent": (lambda store, _: store.runs.last_run(1), "runs_of_agent"),
    "unfinished runs": (lambda store, _: store.schedule.unfinished_runs(1), "runs_by_agent"),
    "what a file was read as": (
        lambda store, _: store.runs.handled_elsewhere(1, "h"),
        "occurrences_by_content",
    ),
    "versions that were lost": (lambda store, _: store.runs.lost_versions(1), "runs_whose_file_was_gone"),
    "what was announced": (lambda store, _: store.schedule.armed(1), "occurrences_"),
    "failures in a row": (lambda store, _: store.runs.failures_in_a_row(1), "runs_"),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_that_is_asked_often_goes_by_an_index(
    store: Store, agent: Agent, clock: FakeClock, name: str
) -> None:
    ask, index = QUERIES[name]

    details = await plans_of(store, lambda: ask(store, clock))

    assert any(index in detail for detail in details), details
    whole = ("SCAN runs", "SCAN r", "SCAN occurrences", "SCAN o")
    assert not [detail for detail in details if detail in whole], "a whole table was read"


@pytest.mark.parametrize(
    "name", ["the next pending run", "the next due time", "a page of an agent", "results of an agent"]
)
async def test_a_query_for_the_first_ones_sorts_nothing(
    store: Store, agent: Agent, clock: FakeClock, name: str
) -> None:
    ask, _ = QUERIES[name]

    details = await plans_of(store, lambda: ask(store, clock))

    assert not [detail for detail in details if "TEMP B-TREE" in detail], details


async def test_a_page_of_everything_reads_only_as_far_as_the_page_goes(store: Store, agent: Agent) -> None:
    details = await plans_of(store, lambda: store.runs.search(limit=50))

    assert "USE TEMP B-TREE FOR ORDER BY" not in details


async def test_searching_keeps_nobody_waiting_for_a_second_connection(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    runs = [await run_of(store, agent, clock, f"{number}") for number in range(3)]

    found = await asyncio.gather(
        store.runs.search(text="digest"),
        store.runs.record(replace(occurrence(agent.id, "new"))),
        store.runs.counts(),
    )

    assert len(found[0]) in (3, 4)
    assert len(await store.runs.search(text="digest")) == len(runs) + 1
