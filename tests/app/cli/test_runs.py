"""`hearth runs`: list, show, follow, cancel."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from agents.contract import (
    EngineChanged,
    EngineInfo,
    Event,
    Notice,
    NoticeLevel,
    RunChanged,
    RunDetail,
    RunInfo,
    RunProgress,
    StepChanged,
    Stopping,
)
from app.cli import follow as follow_module
from app.cli import screen as screen_module
from app.cli.output import columns_of
from app.cli.run_words import describe_runs
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime
from tests.app.desktop.fake_runtime import a_result, a_run, a_step, an_agent


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "_RETRY_S", 0.02)


def put(fake: ScriptedRuntime, run: RunInfo, *, with_result: bool = True) -> RunInfo:
    fake.runs[run.id] = run
    fake.steps[run.id] = [a_step(1, kind="read", title="Read the document"), a_step(2)]
    if with_result and run.status == "succeeded":
        fake.results.append(a_result(run.id))
    return run


# --- list, show, cancel


def test_list_shows_the_newest_first(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(1, title="Roof"))
    put(fake, a_run(2, status="failed", reason="The file is empty."))
    lines = hearth("runs", "list").out.splitlines()
    assert lines[1].split()[:2] == ["2", "failed"]
    assert lines[1].endswith("The file is empty.")
    assert "88.0 tok/s" in lines[2]
    assert lines[2].endswith("Roof")


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_one_long_file_name_leaves_the_results_their_room(columns: int) -> None:
    long = "/in/" + "n" * 248 + "end.txt"
    runs = [
        a_run(1, file=long, title="A short title"),
        a_run(2, status="failed", title=None, reason="The file is empty."),
    ]
    heading, *lines = describe_runs(runs, columns=columns).splitlines()
    assert all(columns_of(line) <= max(columns, 44) for line in lines)
    name = lines[0][heading.index("FILE") : heading.index("RESULT")].strip()
    assert name.startswith("nnn")
    assert "…" in name
    assert name.endswith("d.txt")
    shown = lines[0][heading.index("RESULT") :]
    assert shown == ("A short title" if columns > 40 else shown)
    assert len(shown) >= 10


def test_a_wide_terminal_spares_no_column() -> None:
    heading = describe_runs([a_run(1)], columns=120).splitlines()[0]
    assert heading.split() == ["ID", "STATUS", "WHEN", "TOOK", "SPEED", "AGENT", "FILE", "RESULT"]


def test_list_as_json_is_the_contract(hearth: Hearth, fake: ScriptedRuntime) -> None:
    runs = [put(fake, a_run(number)) for number in (1, 2, 3)]
    out = hearth("runs", "list", "--json", "--limit", "2").out
    assert TypeAdapter(list[RunInfo]).validate_json(out) == [runs[2], runs[1]]


def test_an_empty_list_says_what_to_do(hearth: Hearth, fake: ScriptedRuntime) -> None:
    assert "put a document into a watched folder" in hearth("runs", "list").out
    assert hearth("runs", "list", "--status", "failed").out == "No runs.\n"


def test_show_has_the_steps_and_the_result(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(7))
    out = hearth("runs", "show", "7").out
    assert "Read the document" in out
    assert "412 tokens read, 96 written" in out
    assert "The roof of the workshop is repaired before winter." in out
    assert "- Ask Lena for a second quote" in out
    assert RunDetail.model_validate_json(hearth("runs", "show", "7", "--json").out).id == 7


@pytest.mark.parametrize("verb", ["show", "cancel", "follow"])
def test_an_unknown_run_is_the_runtimes_sentence(hearth: Hearth, fake: ScriptedRuntime, verb: str) -> None:
    fake.refusals["POST /v1/runs/9/cancel"] = (404, "not_found", "There is no run 9.")
    ended = hearth("runs", verb, "9")
    assert (ended.code, ended.sentence()) == (1, "There is no run 9.")


def test_cancel_says_how_the_run_stands(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(3, status="pending"))
    assert hearth("runs", "cancel", "3").out == "Run 3 is cancelled.\n"


def test_names_from_outside_can_not_steer_the_terminal(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(1, file="/in/\x1b]0;owned\x07evil\u202efdp.txt", title="a\x1b[2Jb"))
    for arguments in (("runs", "list"), ("runs", "show", "1")):
        out = hearth(*arguments).out
        assert not set("\x1b\x07\u202e") & set(out)


# --- follow


def end(fake: ScriptedRuntime, run_id: int, status: str = "succeeded") -> RunInfo:
    ended = fake.runs[run_id].model_copy(update={"status": status})
    return put(fake, ended)


def test_follow_shows_the_steps_and_ends_with_the_run(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5, status="running"))
    fake.steps[5] = []
    other = RunProgress(run_id=99, seq=1, completion_tokens=3)
    fake.script(
        StepChanged(run_id=5, step=a_step(1, kind="read", title="Read the document", detail="3 pages")),
        other,
        lambda: end(fake, 5),
        RunChanged(run=a_run(5)),
        after="GET /v1/runs/5",
    )
    ended = hearth("runs", "follow", "5")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("Read the document") == 1
    assert "3 pages" in ended.out
    assert "note-5.md: succeeded, in 12.0 s, 512 tokens, 88.0 tok/s" in ended.out
    assert "- Ask Lena for a second quote" in ended.out


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_follow_ends_with_1_when_the_run_did_not_succeed(
    hearth: Hearth, fake: ScriptedRuntime, status: str
) -> None:
    put(fake, a_run(5, status="running"))
    fake.script(lambda: end(fake, 5, status), RunChanged(run=a_run(5, status=status)), after="GET /v1/runs/5")
    ended = hearth("runs", "follow", "5")
    assert ended.code == 1
    assert f"note-5.md: {status}" in ended.out


def test_follow_of_an_ended_run_tells_its_end_at_once(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5))
    ended = hearth("runs", "follow", "5")
    assert ended.code == 0
    assert "Summarise the document" in ended.out


def test_follow_as_json_is_one_event_per_line(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5, status="running"))
    step = StepChanged(run_id=5, step=a_step(2))
    fake.script(
        step,
        RunProgress(run_id=6, seq=1),
        lambda: end(fake, 5),
        RunChanged(run=a_run(5)),
        after="GET /v1/runs/5",
    )
    events = [
        Event.model_validate_json(line) for line in hearth("runs", "follow", "5", "--json").out.splitlines()
    ]
    assert [event.data.type for event in events] == ["step", "run"]
    assert events[0].data == step
    assert events[-1].data == RunChanged(run=fake.runs[5])


def test_follow_without_a_number_takes_the_run_at_work(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(1, status="pending"))
    put(fake, a_run(2, status="running"))
    fake.script(lambda: end(fake, 2), RunChanged(run=a_run(2)), after="GET /v1/runs/2")
    assert "note-2.md: succeeded" in hearth("runs", "follow").out


def test_follow_without_a_number_takes_the_one_that_waits_longest(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    put(fake, a_run(1, status="pending"))
    put(fake, a_run(2, status="pending"))
    fake.script(lambda: end(fake, 1), RunChanged(run=a_run(1)), after="GET /v1/runs/1")
    assert "note-1.md: succeeded" in hearth("runs", "follow").out


def test_the_run_that_waits_longest_is_found_among_many_and_whatever_its_number(
    hearth: Hearth, fake: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "_PAGE_RUNS", 50)
    for number in range(1, 121):
        put(fake, a_run(number, status="pending"))
    put(fake, a_run(60, status="pending", due_at=fake.runs[60].due_at - timedelta(hours=1)))
    fake.script(lambda: end(fake, 60), RunChanged(run=a_run(60)), after="GET /v1/runs/60")
    assert "note-60.md: succeeded" in hearth("runs", "follow").out


def test_runs_of_a_paused_agent_are_not_waited_for(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Paused"] = an_agent("Paused", paused=True)
    put(fake, a_run(1, status="pending", agent="Paused"))
    put(fake, a_run(2, status="pending"))
    fake.script(lambda: end(fake, 2), RunChanged(run=a_run(2)), after="GET /v1/runs/2")
    assert "note-2.md: succeeded" in hearth("runs", "follow").out


def test_follow_without_a_number_waits_for_the_next_run(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.script(
        lambda: put(fake, a_run(8, status="pending")),
        RunChanged(run=a_run(8, status="pending")),
        lambda: end(fake, 8),
        RunChanged(run=a_run(8)),
        after="GET /v1/runs",
        times=2,
    )
    out = hearth("runs", "follow").out
    assert out.startswith("  nothing is at work; waiting for the next run\n")
    assert "note-8.md: succeeded" in out


def test_follow_goes_on_after_the_runtime_was_started_again(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5, status="running"))
    fake.script(
        StepChanged(run_id=5, step=a_step(1, kind="read", title="Read the document")),
        Stopping(),
        after="GET /v1/runs/5",
    )
    fake.script(lambda: end(fake, 5), RunChanged(run=a_run(5)), after="GET /v1/runs/5")
    ended = hearth("runs", "follow", "5")
    assert ended.code == 0
    assert "Hearth is stopping" in ended.out
    assert ended.out.count("Read the document") == 1
    assert ended.out.count("Summarise the document") == 1  # it ended while nobody listened


def test_follow_gives_up_when_the_runtime_stays_away(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5, status="running"))

    fake.script(fake.leave, 0.3)  # it no longer listens when this stream ends
    ended = hearth("runs", "follow", "5", "--reconnect", "0.2")
    assert ended.code == 3
    assert "did not come back" in ended.sentence()
    assert "Hearth went away" in ended.out


def test_follow_tells_that_the_engine_died_and_came_back(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5, status="running"))
    fake.script(
        EngineChanged(engine=EngineInfo(state="restarting")),
        EngineChanged(engine=EngineInfo(state="busy", model="m.gguf")),
        EngineChanged(engine=EngineInfo(state="ready", model="m.gguf")),
        lambda: end(fake, 5),
        RunChanged(run=a_run(5)),
        after="GET /v1/runs/5",
    )
    out = hearth("runs", "follow", "5").out
    assert out.count("is started again") == 1
    assert out.count("the engine is ready: m.gguf") == 1


def test_json_of_a_run_is_valid_whatever_its_names_hold(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(1, file=str(Path("/in/\x1b[2J.txt"))))
    assert json.loads(hearth("runs", "list", "--json").out)[0]["file"] == "/in/\x1b[2J.txt"


def test_what_the_runtime_says_about_the_engine_is_not_said_twice(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    put(fake, a_run(5, status="running"))
    fake.script(
        Notice(level=NoticeLevel.WARNING, text="The engine ended unexpectedly and was started again."),
        EngineChanged(engine=EngineInfo(state="restarting")),
        lambda: end(fake, 5),
        RunChanged(run=a_run(5)),
        after="GET /v1/runs/5",
    )
    out = hearth("runs", "follow", "5").out
    assert "! The engine ended unexpectedly and was started again." in out
    assert "the engine ended and is started again" not in out


def test_follow_that_joins_late_tells_the_ended_steps_first_and_names_the_one_at_work(
    hearth: Hearth, fake: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen_module, "LOG_INTERVAL_S", 0.0)
    put(fake, a_run(5, status="running"))
    reading = a_step(1, kind="read", title="Read the document")
    fake.steps[5] = [reading, a_step(2, title="Write the digest", status="running", finished_at=None)]
    fake.script(
        RunProgress(run_id=5, seq=2, completion_tokens=3),
        StepChanged(run_id=5, step=reading),  # ended before the state was read, heard after it
        lambda: end(fake, 5),
        RunChanged(run=a_run(5)),
        after="GET /v1/runs/5",
    )
    lines = hearth("runs", "follow", "5").out.splitlines()
    assert lines[0].startswith("  + Read the document")
    assert lines[1] == "  … Write the digest"
    assert lines[2].startswith("  … Write the digest: writing, 3 tokens")
    assert sum("Read the document" in line for line in lines) == 1


def test_an_interrupted_step_is_told_once(hearth: Hearth, fake: ScriptedRuntime) -> None:
    put(fake, a_run(5, status="running"))
    fake.steps[5] = [a_step(1, title="Write the digest", status="interrupted"), a_step(2)]
    fake.script(
        lambda: fake.runs.update({5: a_run(5)}),
        RunChanged(run=a_run(5)),
        after="GET /v1/runs/5",
    )
    assert hearth("runs", "follow", "5").out.count("interrupted, it will be done again") == 1
