"""What the demo says to a person and to a program."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.contract import AgentDetail, EngineChanged, EngineInfo, Event, RunDetail, RunProgress, StepChanged
from app.cli.demo.report import JsonReporter, PersonReporter
from app.cli.demo.show import Outcome
from app.cli.demo.stage import Stage
from app.cli.screen import Screen
from tests.app.desktop.fake_runtime import START, a_result, a_run, a_status, a_step, an_agent, an_event

STAGE = Stage(home=Path("/tmp/d/home"), inbox=Path("/tmp/d/Inbox"), documents=())


def a_detail(run_id: int, **changes: Any) -> RunDetail:
    run = a_run(run_id, title="Roof", **changes)
    result = a_result(run_id) if run.status == "succeeded" else None
    return RunDetail(**run.model_dump(), revision=1, steps=[], result=result)


def agent() -> AgentDetail:
    return AgentDetail(
        **an_agent().model_dump(),
        source="",
        asks=["read files in /tmp/d/Inbox"],
        model="built-in",
        notify="always",
        revisions=[],
    )


def play(reporter: PersonReporter | JsonReporter, file: Path, outcome: Outcome, **end: Any) -> None:
    reporter.opened(STAGE)
    reporter.began(a_status(), agent())
    reporter.arrived(1, 1, file)
    reporter.happened(an_event(StepChanged(run_id=1, step=a_step(2))))
    reporter.happened(an_event(RunProgress(run_id=1, seq=2, completion_tokens=3)))
    reporter.killed(4242, file)
    engine = EngineInfo(state="ready", pid=4243)
    for _ in range(3):
        reporter.happened(Event(id=9, at=datetime.now(UTC), data=EngineChanged(engine=engine)))
    reporter.recovered(engine)
    for run in outcome.runs:
        reporter.ended(run)
    reporter.done(outcome, **{"ok": True, "kept": False, "problem": None} | end)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "note-1.md"
    file.write_text("x" * 2_000)
    return file


def test_a_person_reads_each_step_the_result_and_the_table(document: Path) -> None:
    log = io.StringIO()
    outcome = Outcome(runs=[a_detail(1)], killed_pid=4242, restart_seen=True)
    play(PersonReporter(Screen(log)), document, outcome)
    text = log.getvalue()
    for expected in (
        "1/1  note-1.md (2 kB) arrives",
        "412 tokens read, 96 written · 88.0 tok/s",
        "the engine (process 4242) is killed in the middle of its answer, on purpose",
        "the engine is back (process 4243)",
        "The roof of the workshop is repaired before winter.",
        "- Ask Lena for a second quote",
        "and when the engine died in the middle of its work, the work went on.",
        "`hearth serve`",
    ):
        assert expected in text
    assert "\r" not in text
    assert [line for line in text.splitlines() if line.startswith("FILE")]


def test_a_kept_home_is_named(document: Path) -> None:
    log = io.StringIO()
    play(PersonReporter(Screen(log)), document, Outcome(runs=[a_detail(1)]), kept=True)
    assert "`hearth --home /tmp/d/home`" in log.getvalue()


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(runs=[a_detail(1, status="failed", reason="The file is empty.")]), "1 run did not succeed"),
        (Outcome(runs=[a_detail(1)]), "its recovery was not shown"),
        (Outcome(runs=[a_detail(1)], killed_pid=5), "was not seen to come back"),
    ],
)
def test_a_failed_demo_says_what_was_missing(document: Path, outcome: Outcome, expected: str) -> None:
    log = io.StringIO()
    play(PersonReporter(Screen(log)), document, outcome, ok=False)
    assert expected in log.getvalue()
    assert "the work went on" not in log.getvalue()


def test_a_program_reads_one_object_per_line_and_done_at_the_end(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome(
        runs=[a_detail(1), a_detail(2, status="failed", reason="The file is empty.")], killed_pid=4242
    )
    play(JsonReporter(), document, outcome, ok=False)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == [
        "opened",
        "began",
        "arrived",
        "step",
        "engine_killed",
        "engine",
        "engine_recovered",
        "ended",
        "ended",
        "done",
    ]
    assert events[3]["at"] == START.isoformat()
    assert events[-1]["runs"][0] == {
        "file": "note-1.md",
        "status": "succeeded",
        "reason": None,
        "title": "Result 1",
        "summary": "The roof of the workshop is repaired before winter.",
        "action_items": ["Ask Lena for a second quote"],
        "category": "notes",
        "tokens": 512,
        "tokens_per_s": 88.0,
    }
    assert events[-1]["runs"][1]["reason"] == "The file is empty."
    assert events[-1]["problem"] == "1 run did not succeed, so the demo has failed."
