"""What the pages, the tray and the notifications say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agents.contract import (
    ChatDelta,
    ChatDone,
    ChatFailed,
    ChatProgress,
    ChatRestarted,
    ChatStarted,
    Problem,
    ResultReady,
    RunChanged,
    RunDetail,
    RunFailed,
    RunProgress,
    StepChanged,
)
from app.desktop.link.states import LinkState
from app.desktop.models.agents import agent_view
from app.desktop.models.chat import Answer, Phase
from app.desktop.models.home import home_view
from app.desktop.models.run import RunModel
from app.desktop.models.tray import TrayShape, tray_view
from app.desktop.notes import Note, NoteGatherer, note_of
from tests.app.desktop.fake_runtime import START, a_result, a_run, a_status, a_step, an_agent, an_event
from tests.app.desktop.test_world import a_world

NOW = START + timedelta(minutes=1)


# --- home


def test_home_says_what_runs_and_how_far_it_is() -> None:
    world = a_world(runs=[a_run(1, status="running")])
    world.apply(an_event(StepChanged(run_id=1, step=a_step(2, title="Summarise part 1 of 3"))))
    world.apply(an_event(RunProgress(run_id=1, seq=2, done_prompt_tokens=300, total_prompt_tokens=1200)))
    row = home_view(world, NOW).running[0]
    assert (row.title, row.share) == ("note-1.md", 0.25)
    assert row.detail == "Document digest · Summarise part 1 of 3 · reading 25%"
    world.apply(an_event(RunProgress(run_id=1, seq=2, completion_tokens=57, tokens_per_s=90.0)))
    row = home_view(world, NOW).running[0]
    assert row.share is None
    assert row.detail.endswith("57 tokens written · 90 tokens/s")


def test_home_shows_the_first_waiting_files_and_counts_the_rest() -> None:
    view = home_view(a_world(runs=[a_run(n, status="pending") for n in range(1, 9)]), NOW)
    assert [row.run_id for row in view.waiting] == [1, 2, 3, 4, 5]
    assert view.waiting_more == 3


def test_home_says_when_it_looked_and_looks_again() -> None:
    status = a_status(last_tick=NOW - timedelta(seconds=12), next_tick=NOW + timedelta(seconds=18))
    view = home_view(a_world(status=status), NOW)
    assert view.watching == "Watching Inbox"
    assert view.looks == "Looked 12 s ago · looks again in 18 s"


def test_home_asks_for_a_folder_only_when_no_agent_has_one() -> None:
    assert home_view(a_world(agents=[an_agent(folders=[], paused=True)]), NOW).needs_folder
    assert not home_view(a_world(), NOW).needs_folder


def test_home_lists_results_and_failures_newest_first() -> None:
    failed = a_run(2, status="failed", reason="It is encrypted.", finished_at=START + timedelta(seconds=30))
    view = home_view(a_world(results=[a_result(1)], runs=[failed]), NOW)
    assert [(row.run_id, row.failed) for row in view.outcomes] == [(2, True), (1, False)]
    assert view.outcomes[0].detail == "It is encrypted."


# --- a run


def a_model(**changes: Any) -> RunModel:
    run = a_run(1, status="running", finished_at=None)
    return RunModel(RunDetail(**run.model_dump() | {"revision": 1, "steps": []} | changes))


def test_a_run_grows_by_its_own_events_only() -> None:
    model = a_model()
    assert not model.apply(an_event(StepChanged(run_id=2, step=a_step(1))))
    assert model.apply(an_event(StepChanged(run_id=1, step=a_step(1, status="running", finished_at=None))))
    assert model.apply(an_event(RunProgress(run_id=1, seq=1, done_prompt_tokens=1, total_prompt_tokens=4)))
    row = model.rows(NOW)[0]
    assert (row.share, row.detail) == (0.25, "1 of 4 tokens read")
    assert model.apply(an_event(ResultReady(result=a_result(1, run_id=1), notify=True)))
    assert model.result is not None
    assert model.apply(an_event(RunChanged(run=a_run(1))))
    assert not model.is_alive


def test_steps_are_in_order_with_their_times_tokens_and_errors() -> None:
    model = a_model(
        steps=[a_step(2, status="failed", error="The model gave no title."), a_step(1, kind="read")]
    )
    first, second = model.rows(NOW)
    assert (first.seq, second.seq) == (1, 2)
    assert first.side == "5.0 s"
    assert "412 tokens read" in first.detail
    assert second.error == "The model gave no title."


def test_an_interrupted_step_says_so() -> None:
    assert a_model(steps=[a_step(1, status="interrupted")]).rows(NOW)[0].error == "Interrupted; begun anew."


# --- agents


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "Watching"),
        ({"folders": []}, "Needs a folder"),
        ({"paused": True}, "Paused"),
        ({"problem": "The folder is missing."}, "Can't work"),
        ({"waiting": 2}, "Working"),
    ],
)
def test_an_agent_is_in_one_state(changes: dict[str, Any], state: str) -> None:
    assert agent_view(an_agent(**changes), NOW).state == state


def test_an_agent_says_what_it_did() -> None:
    view = agent_view(an_agent(succeeded=12, failed=1, last_run=a_run(7, title="Roof repaired")), NOW)
    assert view.counts == "12 done · 1 failed"
    assert view.last_run == "Roof repaired · done · 48 s ago"
    assert agent_view(an_agent(), NOW).counts == ""


@pytest.mark.parametrize(
    ("changes", "can_run", "why_not"),
    [
        ({}, True, ""),
        ({"paused": True}, False, "It is paused; resume it first."),
        ({"folders": []}, False, ""),
    ],
)
def test_a_paused_agent_can_not_be_run_and_says_why(
    changes: dict[str, Any], can_run: bool, why_not: str
) -> None:
    view = agent_view(an_agent(**changes), NOW)
    assert (view.can_run, view.run_tooltip) == (can_run, why_not)


# --- an answer


def after(*events: Any, answer: Answer | None = None) -> Answer:
    answer = answer or Answer()
    for event in events:
        answer = answer.after(event)
    return answer


def test_an_answer_waits_reads_writes_and_ends() -> None:
    answer = after(ChatStarted(conversation_id=4, title="Roof"))
    assert (answer.state_line, answer.conversation_id) == ("Waiting for its turn…", 4)
    answer = after(ChatProgress(done_tokens=40, total_tokens=100), answer=answer)
    assert answer.state_line == "Reading… 40%"
    answer = after(ChatDelta(text="The "), ChatDelta(text="roof"), answer=answer)
    assert (answer.text, answer.state_line) == ("The roof", "")
    done = ChatDone(
        text="The roof.", finish_reason="stop", prompt_tokens=9, completion_tokens=3, tokens_per_s=90
    )
    answer = after(done, answer=answer)
    assert (answer.phase, answer.text, answer.state_line) == (Phase.COMPLETE, "The roof.", "90 tokens/s")


def test_after_a_restart_the_text_begins_anew_and_says_why() -> None:
    answer = after(ChatDelta(text="half"), ChatRestarted(reason="The engine ended"), ChatDelta(text="whole"))
    assert (answer.text, answer.restarts) == ("whole", 1)
    assert answer.note == "The engine ended. The answer began anew."


def test_an_answer_that_ends_early_says_why() -> None:
    length = ChatDone(text="x", finish_reason="length", prompt_tokens=1, completion_tokens=1)
    assert after(length).note == "Cut: the answer reached its length limit."
    assert after(ChatFailed(error=Problem(code="x", message="No model."))).note == "No model."
    assert after(ChatDelta(text="x")).broken_off(None).note == "Stopped."
    assert after(ChatDelta(text="x")).broken_off("Gone.").phase is Phase.FAILED


def test_nothing_changes_an_answer_that_is_over() -> None:
    over = after(ChatFailed(error=Problem(code="x", message="No model.")))
    assert over.after(ChatDelta(text="more")) == over
    assert over.broken_off("Gone.") == over


# --- the tray


@pytest.mark.parametrize(
    ("state", "shape"),
    [
        (LinkState.CONNECTING, TrayShape.IDLE),
        (LinkState.CONNECTED, TrayShape.IDLE),
        (LinkState.RECONNECTING, TrayShape.PROBLEM),
        (LinkState.NEEDS_KEY, TrayShape.PROBLEM),
        (LinkState.FAILED, TrayShape.PROBLEM),
        (LinkState.STOPPED, TrayShape.PAUSED),
    ],
)
def test_the_tray_follows_the_line(state: LinkState, shape: TrayShape) -> None:
    assert tray_view(a_world(), state, NOW).shape is shape


def test_the_tray_follows_the_work() -> None:
    working = tray_view(a_world(runs=[a_run(1, status="running")]), LinkState.CONNECTED, NOW)
    assert (working.shape, working.running) == (TrayShape.WORKING, "1 run in work")
    assert working.tooltip == "Hearth: working on note-1.md"
    paused = tray_view(a_world(agents=[an_agent(paused=True)]), LinkState.CONNECTED, NOW)
    assert (paused.shape, paused.status) == (TrayShape.PAUSED, "agents are paused")
    missing = tray_view(
        a_world(agents=[an_agent(problem="The folder is missing.")]), LinkState.CONNECTED, NOW
    )
    assert (missing.shape, missing.status) == (TrayShape.PROBLEM, "The folder is missing.")


# --- notifications


def test_only_events_that_ask_for_it_are_worth_a_notification() -> None:
    assert note_of(an_event(ResultReady(result=a_result(3), notify=False))) is None
    assert note_of(an_event(RunChanged(run=a_run(3)))) is None
    note = note_of(an_event(ResultReady(result=a_result(3), notify=True)))
    assert note == Note(title="Result 3", body="Document digest: note-3.md", run_id=3)
    failed = note_of(an_event(RunFailed(run=a_run(3, status="failed", reason="Empty."), notify=True)))
    assert failed == Note(title="Failed: note-3.md", body="Empty.", run_id=3, failed=True)


def test_what_a_file_or_a_model_wrote_is_no_markup_in_a_notification() -> None:
    hostile = a_result(1, title="two\nlines", file="/x/<img src='http://e.org/x'>&.md")
    note = note_of(an_event(ResultReady(result=hostile, notify=True)))
    assert note is not None
    assert note.title == "two lines"
    assert not set("<>&") & set(note.body)


def test_a_burst_becomes_one_note_after_the_first() -> None:
    gatherer = NoteGatherer(quiet_s=10)
    note, bad = Note(title="a", body="", run_id=1), Note(title="b", body="", run_id=2, failed=True)
    assert gatherer.take(note, 0) is note
    assert gatherer.due_in_s(1) is None
    assert [gatherer.take(each, 1) for each in (note, note, bad)] == [None, None, None]
    assert gatherer.due_in_s(4) == 6
    together = gatherer.flush(10)
    assert together is not None
    assert (together.title, together.run_id) == ("2 results are ready, 1 run failed", None)
    assert gatherer.flush(11) is None
    assert gatherer.take(note, 30) is note


def test_a_single_late_note_stays_itself() -> None:
    gatherer = NoteGatherer(quiet_s=10)
    note = Note(title="a", body="", run_id=1)
    gatherer.take(note, 0)
    gatherer.take(note, 1)
    assert gatherer.flush(10) is note
