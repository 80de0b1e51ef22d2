"""Agents that start on one another's results."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core import Agent, AgentDefinition, AgentKind, NewResult, Run, RunStatus
from agents.errors import UsageProblem
from agents.scheduling.chains import MAX_DEPTH, MAX_FOLLOWERS, check_chains, followers_of
from agents.triggers import (
    FileTrigger,
    ResultKind,
    ResultTrigger,
    StartTrigger,
    Trigger,
    TriggerKind,
    trigger_key,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RESULT = NewResult(title="News", summary="Two things.", action_items=("Read", "Write"), category="news")


def named(name: str, *follows: str | Trigger) -> AgentDefinition:
    triggers = tuple(ResultTrigger(agent=each) if isinstance(each, str) else each for each in follows)
    return AgentDefinition(
        name=name,
        description="Writes.",
        kind=AgentKind.WRITE,
        triggers=triggers or (StartTrigger(),),
        read_folders=(Path("/tmp"),),
    )


def handing_on(
    name: str, *, reads: str, writes: str, patterns: tuple[str, ...] = ("*.md",)
) -> AgentDefinition:
    folder = Path(reads)
    trigger = FileTrigger(folders=(folder,), patterns=patterns)
    return replace(named(name, trigger), read_folders=(folder,), write_folder=Path(writes))


def living(definition: AgentDefinition, *, id: int, paused: bool = False) -> Agent:  # noqa: A002
    return Agent(
        id=id, revision_id=id, revision=1, paused=paused, created_at=NOW, source="", definition=definition
    )


def a_run(agent_name: str, **other: Any) -> Run:
    values: dict[str, Any] = {
        "id": 42,
        "agent_id": 1,
        "agent_name": agent_name,
        "revision_id": 1,
        "occurrence_id": 1,
        "trigger": TriggerKind.CRON,
        "status": RunStatus.RUNNING,
        "reason": None,
        "path": None,
        "content_hash": None,
        "due_at": NOW,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": None,
        "attempt": 1,
        "failures": 0,
        "not_before": None,
        "retry_of": None,
        "replay_of": None,
        "model": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "model_s": 0.0,
        "energy_j": None,
        "cost_usd": 0.0,
        "title": None,
    }
    return Run(**{**values, **other})


def test_a_tree_of_agents_is_fine():
    check_chains([named("A"), named("B", "A"), named("C", "A", "B"), named("D", "C", "unknown")])


@pytest.mark.parametrize(
    ("agents", "sentence"),
    [
        (
            [named("A", "A")],
            "“A” would start on its own results, without end; take that trigger out.",
        ),
        (
            [named("A", "B"), named("B", "A")],
            "Agents would start one another in a circle: “A” → “B” → “A”; take one of these triggers out.",
        ),
        (
            [named("Root"), named("A", "Root", "C"), named("B", "A"), named("C", "B")],
            "Agents would start one another in a circle: “A” → “B” → “C” → “A”; take one of these triggers out.",
        ),
    ],
)
def test_a_circle_is_refused_and_named_in_the_order_of_starting(agents: list[AgentDefinition], sentence: str):
    with pytest.raises(UsageProblem) as refused:
        check_chains(agents)
    assert str(refused.value) == sentence


def test_a_name_is_the_same_in_other_spellings():
    with pytest.raises(UsageProblem, match="circle"):
        check_chains([named("CAF\u00c9", "news"), named("News", "cafe\u0301")])


def test_a_row_of_agents_has_a_limit():
    row = [named("0"), *(named(str(n), str(n - 1)) for n in range(1, MAX_DEPTH))]
    check_chains(row)
    with pytest.raises(UsageProblem, match=f"at most {MAX_DEPTH}"):
        check_chains([*row, named("last", str(MAX_DEPTH - 1))])


def test_the_agents_that_one_starts_have_a_limit():
    followers = [named(f"F{n}", "A") for n in range(MAX_FOLLOWERS)]
    check_chains([named("A"), *followers])
    with pytest.raises(
        UsageProblem, match=f"More than {MAX_FOLLOWERS} agents would start on the results of “A”"
    ):
        check_chains([named("A"), *followers, named("one more", "A")])


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_it_is_refused_exactly_when_there_is_a_circle(edges: set[tuple[int, int]]):
    agents = [named(str(n), *(str(b) for a, b in sorted(edges) if a == n)) for n in range(8)]
    reached = set(edges)
    for _ in range(3):
        reached |= {(a, d) for a, b in reached for c, d in reached if b == c}
    is_circular = any(a == b for a, b in reached)
    if is_circular:
        with pytest.raises(UsageProblem):
            check_chains(agents)
    else:
        check_chains(agents)


def test_a_long_line_of_names_is_checked_without_deep_calls():
    with pytest.raises(UsageProblem):
        check_chains([named("0"), *(named(str(n), str(n - 1)) for n in range(1, 5_000))])


def test_a_follower_gets_the_result_as_its_input():
    follower = living(named("Reader", "news"), id=2)
    (row,) = followers_of([follower], a_run("News"), RESULT, status=RunStatus.SUCCEEDED, now=NOW)
    key = trigger_key(ResultTrigger(agent="news"))
    assert (row.agent_id, row.trigger, row.trigger_key) == (2, TriggerKind.RESULT, key)
    assert (row.key, row.due_at) == (f"{key}:after:42", NOW)
    assert row.input == {
        "agent": "News",
        "run": 42,
        "status": "succeeded",
        "title": "News",
        "text": "Two things.\n- Read\n- Write",
    }


def test_a_follower_of_failures_gets_the_reason():
    follower = living(named("Doctor", ResultTrigger(agent="News", when=ResultKind.FAILED)), id=2)
    (row,) = followers_of(
        [follower], a_run("News"), None, status=RunStatus.FAILED, reason="It broke.", now=NOW
    )
    assert (row.input["status"], row.input["title"], row.input["text"]) == ("failed", None, "It broke.")


@pytest.mark.parametrize(
    ("when", "awaited"),
    [
        (ResultKind.SUCCEEDED, {RunStatus.SUCCEEDED}),
        (ResultKind.FAILED, {RunStatus.FAILED}),
        (ResultKind.ANY, {RunStatus.SUCCEEDED, RunStatus.UNVERIFIED, RunStatus.FAILED}),
    ],
)
def test_a_follower_waits_for_certain_ends(when: ResultKind, awaited: set[RunStatus]):
    follower = living(named("B", ResultTrigger(agent="A", when=when)), id=2)
    woken = {
        status for status in RunStatus if followers_of([follower], a_run("A"), None, status=status, now=NOW)
    }
    assert woken == awaited


def test_nobody_is_woken_by_a_replay_nor_while_paused_nor_by_others():
    paused, other = living(named("B", "A"), id=2, paused=True), living(named("C", "X"), id=3)
    awake = living(named("D", "A"), id=4)
    ended = {"status": RunStatus.SUCCEEDED, "now": NOW}
    rows = followers_of([paused, other, awake], a_run("A"), RESULT, **ended)
    assert [row.agent_id for row in rows] == [4]
    assert followers_of([awake], a_run("A", replay_of=41), RESULT, **ended) == []


def test_agents_that_would_hand_files_on_to_one_another_in_a_circle_are_refused() -> None:
    first = handing_on("First", reads="/in", writes="/out/notes")
    second = handing_on("Second", reads="/out", writes="/in")
    with pytest.raises(
        UsageProblem, match="in a circle: “(First” → “Second” → “First|Second” → “First” → “Second)”"
    ):
        check_chains([first, second])
    told = replace(named("Second", "First"), write_folder=Path("/in"))
    with pytest.raises(UsageProblem, match="in a circle"):
        check_chains([first, told])


def test_files_that_are_handed_on_to_the_end_or_meant_by_no_pattern_make_no_circle() -> None:
    first = handing_on("First", reads="/in", writes="/out")
    check_chains([first, handing_on("Second", reads="/out", writes="/elsewhere")])
    check_chains([first, handing_on("Second", reads="/out", writes="/in", patterns=("*.pdf",))])
    check_chains([handing_on("Alone", reads="/in", writes="/in")])
