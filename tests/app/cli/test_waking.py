"""What the command line says about due times, the switch for all agents, and runs that are done again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.contract import (
    AgentInfo,
    DueTime,
    GateInfo,
    GovernorInfo,
    IncidentInfo,
    OccurrenceDetail,
    OccurrenceInfo,
    SchedulerInfo,
)
from app.cli.moments import parse_moment
from app.cli.output import columns_of
from app.cli.run_words import describe_occurrences, side_by_side
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime
from tests.app.desktop.fake_runtime import START, a_result, a_run, a_status, a_step, an_agent

NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)


def a_writer(**changes: object) -> AgentInfo:
    values = {
        "kind": "write",
        "folders": [],
        "patterns": [],
        "triggers": ["every weekday at 08:00"],
        "next_due": START + timedelta(days=3),
        "next_due_words": "on Monday at 08:00",
        "woken": 288,
        "free": 281,
    }
    return an_agent("Morning page", **values | changes)


def an_occurrence(**changes: object) -> dict[str, object]:
    values = {
        "id": 7,
        "agent": "Morning page",
        "trigger": "cron",
        "due_at": START,
        "created_at": START,
        "status": "missed",
        "reason": "The computer was off.",
    }
    return values | changes


# --- agents


def test_a_list_tells_the_next_due_time_and_how_often_a_gate_saved_the_work(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.agents["Morning page"] = a_writer()
    heading, line = hearth("agents", "list").out.splitlines()
    assert "NEXT DUE" in heading
    assert "WOKE" in heading
    assert "on Monday at 08:00" in line
    assert "288×, 281 free" in line


def test_an_agent_that_was_paused_by_hearth_says_why(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Morning page"] = a_writer(paused=True, paused_reason="It failed ten times in a row.")
    assert "Morning page: It failed ten times in a row." in hearth("agents", "list").out
    out = hearth("agents", "show", "Morning page").out
    assert "It failed ten times in a row." in out
    assert "every weekday at 08:00" in out


def test_an_agent_for_which_something_waits_says_so(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Morning page"] = a_writer(waits="Waits until the computer is plugged in.")
    assert "Morning page: Waits until the computer is plugged in." in hearth("agents", "list").out
    assert "Waits until the computer is plugged in." in hearth("agents", "show", "Morning page").out


def test_adding_an_agent_answers_with_its_next_due_time(
    hearth: Hearth, fake: ScriptedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.app.desktop import fake_runtime

    monkeypatch.setattr(fake_runtime, "an_agent", lambda _name: a_writer())
    file = tmp_path / "page.md"
    file.write_text("---\nname: Morning page\n---\n")
    out = hearth("agents", "add", file, "--yes").out
    assert "It is next due on Monday at 08:00." in out


def test_the_next_due_times_are_told_with_their_oddities(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Morning page"] = a_writer()
    fake.due_times = [
        DueTime(
            at=START,
            words="tomorrow, Sunday at 03:00",
            trigger="every day at 02:30",
            note="02:30 does not exist.",
        ),
        DueTime(at=START, words="on Monday at 02:30", trigger="every day at 02:30", armed=True),
    ]
    ended = hearth("agents", "next", "Morning page", "-n", 2, "--from", "2027-03-27T00:00:00+00:00")
    assert ended.out.splitlines() == [
        "tomorrow, Sunday at 03:00  (every day at 02:30)",
        "    02:30 does not exist.",
        "on Monday at 02:30  (every day at 02:30; armed)",
    ]
    assert fake.queries[-1] == {"n": "2", "start": "2027-03-27T00:00:00+00:00"}
    assert len(json.loads(hearth("agents", "next", "Morning page", "--json").out)) == 2


def test_due_times_by_another_clock_are_told_by_both(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Morning page"] = a_writer()
    fake.due_times = [
        DueTime(
            at=START,
            words="on Sunday at 15:00",
            zone="Asia/Tokyo",
            there="Sunday 25 October 2026 at 02:30",
            trigger="every day at 02:30 (Europe/Berlin)",
        )
    ]
    assert hearth("agents", "next", "Morning page").out.splitlines() == [
        "Times are by your clock (Asia/Tokyo).",
        "on Sunday at 15:00  (every day at 02:30 (Europe/Berlin); there Sunday 25 October 2026 at 02:30)",
    ]


def test_a_span_is_told_to_its_end_or_with_what_is_left_out(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Morning page"] = a_writer()
    fake.due_times = [
        DueTime(at=START + timedelta(hours=each), words=f"time {each}", trigger="every hour")
        for each in range(120)
    ]
    span = ("agents", "next", "Morning page", "--from", "2026-01-01", "--to", "2027-01-01")
    lines = hearth(*span).out.splitlines()
    assert len(lines) == 101
    assert lines[-1] == "… and 20 others in that time; `-n 120` shows them."
    assert len(hearth(*span, "-n", 120).out.splitlines()) == 120
    assert len(json.loads(hearth(*span, "--json").out)) == 120


@pytest.mark.parametrize(
    ("span", "sentence"),
    [
        (("--from", "2027-01-01", "--to", "2026-01-01"), "--to lies before --from; swap them."),
        (("--to", "2020-01-01"), "--to lies in the past; name the beginning with --from."),
    ],
)
def test_a_span_that_ends_before_it_begins_is_one_sentence(
    hearth: Hearth, fake: ScriptedRuntime, span: tuple[str, ...], sentence: str
) -> None:
    ended = hearth("agents", "next", "Morning page", *span)
    assert (ended.code, ended.sentence()) == (2, sentence)


def test_a_time_that_is_none_is_one_sentence(hearth: Hearth, fake: ScriptedRuntime) -> None:
    ended = hearth("agents", "next", "Morning page", "--from", "soonish")
    assert ended.code == 2
    assert "'soonish' is no time" in ended.err


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("3h", NOW - timedelta(hours=3)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-12-01T09:00:00+02:00", datetime(2026, 12, 1, 7, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_people_write_them(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


def test_a_date_is_its_midnight_by_the_users_clock() -> None:
    now = NOW.astimezone()
    today = parse_moment("today", now)
    assert today is not None
    assert (today.hour, today.minute, today.date()) == (0, 0, now.date())
    assert parse_moment(f"{now:%Y-%m-%d}", now) == today
    assert parse_moment("yesterday", now) < today < parse_moment("tomorrow", now)  # type: ignore[operator]


# --- the switch and the status


def test_one_switch_stops_all_agents_and_lets_them_go_on(hearth: Hearth, fake: ScriptedRuntime) -> None:
    assert "`hearth agents resume --all`" in hearth("stop", "--agents").out
    assert fake.status.agents_stopped
    assert "All agents are stopped." in hearth("status").out
    assert json.loads(hearth("agents", "resume", "--all", "--json").out)["stopped"] is False
    assert fake.status.agents_stopped is None
    assert "POST /v1/stop" not in fake.asked


@pytest.mark.parametrize("arguments", [(), ("Morning page", "--all")])
def test_resume_wants_a_name_or_all(
    hearth: Hearth, fake: ScriptedRuntime, arguments: tuple[str, ...]
) -> None:
    ended = hearth("agents", "resume", *arguments)
    assert (ended.code, ended.sentence()) == (2, "Name one agent, or say --all.")


def test_the_status_tells_the_schedule_the_governor_and_what_went_wrong(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    now = datetime.now(UTC)
    fake.status = a_status(
        scheduler=SchedulerInfo(
            last_tick=now - timedelta(seconds=5),
            next_due=now + timedelta(minutes=20),
            incidents=[IncidentInfo(at=now, kind="stuck", detail="The scheduler was stuck and began anew.")],
        ),
        governor=GovernorInfo(action="pause", reason="Paused: on battery below 20 %."),
    )
    out = hearth("status").out
    assert "last tick 5 s ago, next due in 20 min" in out
    assert "Paused: on battery below 20 %." in out
    assert "The scheduler was stuck and began anew." in out


# --- runs


def test_runs_are_looked_for_by_words_trigger_and_time(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.runs[1] = a_run(1)
    since = "2026-11-01T00:00:00+00:00"
    hearth("runs", "list", "--search", "roof", "--trigger", "cron", "--since", since)
    assert fake.queries[-1] == {"search": "roof", "trigger": "cron", "since": since, "limit": "20"}


def test_due_times_that_led_to_no_run_are_listed_with_their_reason(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.occurrences = [OccurrenceInfo(**an_occurrence(n_due=12))]
    out = hearth("runs", "occurrences", "--status", "missed").out
    assert "The computer was off. (12 due times)" in out
    assert fake.queries[-1] == {"status": "missed", "limit": "20"}
    assert json.loads(hearth("runs", "occurrences", "--json").out)[0]["n_due"] == 12


LONG = "Its gate was closed: none of the 14 files and folders that it looks at has changed since yesterday."


def test_why_a_due_time_was_skipped_is_told_whole(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.occurrences = [OccurrenceInfo(**an_occurrence(reason=LONG))]
    assert hearth("runs", "occurrences").out.splitlines()[1].endswith(LONG)
    lines = describe_occurrences(fake.occurrences, columns=80).splitlines()
    assert max(columns_of(line) for line in lines) <= 80
    assert lines[1].endswith("Morning page")
    assert " ".join(line.strip() for line in lines[2:]) == LONG


def test_one_due_time_is_shown_with_what_its_gates_said(hearth: Hearth, fake: ScriptedRuntime) -> None:
    gate = GateInfo(gate="ac_power", open=False, detail="The computer is on battery.")
    fake.occurrences = [OccurrenceDetail(**an_occurrence(status="skipped", reason=LONG, gates=[gate]))]
    out = hearth("runs", "occurrences", 7).out
    assert out.startswith("Due time 7\n")
    assert LONG in out
    assert "ac power: closed, The computer is on battery." in out
    assert json.loads(hearth("runs", "occurrences", 7, "--json").out)["gates"][0]["open"] is False
    assert "not a due time's number" in hearth("runs", "occurrences", "seven").err


def test_a_run_shows_its_due_time_its_gates_and_what_each_step_cost(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.runs[1] = a_run(1, energy_j=1234.5, cost_usd=0.0042)
    fake.steps[1] = [
        a_step(1, energy_j=120.0, route="local"),
        a_step(2, started_at=START + timedelta(seconds=5)),
    ]
    gate = GateInfo(gate="ac_power", open=True, detail="The computer is plugged in.")
    changes = {
        "status": "succeeded",
        "reason": None,
        "claimed_at": START + timedelta(seconds=1),
        "gates": [gate],
    }
    fake.occurrence_of[1] = OccurrenceDetail(**an_occurrence(**changes))
    out = hearth("runs", "show", 1).out
    assert "1.0 s after it was due" in out
    assert "ac power: open, The computer is plugged in." in out
    assert "1,234 J, $0.0042" in out
    first, second = [line for line in out.splitlines() if line.lstrip().startswith("+")]
    assert "+0.0 s" in first
    assert first.endswith("120 J · local")
    assert "+5.0 s" in second


def test_a_run_of_a_hook_shows_what_the_call_brought(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.runs[1] = a_run(1, trigger="webhook", file=None, brought='{"n": 17}')
    assert '{"n": 17}' in hearth("runs", "list").out
    assert 'brought  {"n": 17}' in hearth("runs", "show", 1).out


def test_a_run_can_be_done_again(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.runs[1] = a_run(1)
    assert hearth("runs", "retry", 1).out == "Run 2 does the work of run 1 again (`hearth runs follow 2`).\n"
    assert fake.runs[2].retry_of == 1


def test_a_replay_is_shown_beside_the_original(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.runs[1] = a_run(1)
    fake.results.append(a_result(1))
    ended = hearth("runs", "replay", 1, "--model", "/models/other.gguf", "--revision", 2)
    assert ended.code == 0
    assert (fake.bodies[-1].model, fake.bodies[-1].revision) == ("/models/other.gguf", 2)
    line = next(line for line in ended.out.splitlines() if "Result 1" in line)
    assert "Again 2" in line
    both = json.loads(hearth("runs", "replay", 1, "--json").out)
    assert (both["original"]["id"], both["replay"]["replay_of"]) == (1, 1)


def test_a_replay_that_failed_ends_with_1(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.runs[1] = a_run(1, status="failed", reason="The file is empty.")
    ended = hearth("runs", "replay", 1)
    assert ended.code == 1
    assert "Run 2: failed" in ended.out


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_two_runs_fit_side_by_side(columns: int, fake: ScriptedRuntime, hearth: Hearth) -> None:
    from agents.contract import RunDetail

    result = a_result(1, summary="A long summary of the roof and the workshop. " * 20)
    run = RunDetail(**a_run(1).model_dump(), revision=1, steps=[], result=result)
    lines = side_by_side(run, run, columns=columns).splitlines()
    assert max(columns_of(line) for line in lines) <= columns
