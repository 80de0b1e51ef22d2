"""The demo's play against a stand-in runtime: what it does at which event, and when it has failed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.contract import (
    AgentDetail,
    EngineChanged,
    EngineInfo,
    Event,
    RunChanged,
    RunDetail,
    RunProgress,
    Status,
    StepChanged,
)
from app.cli.demo import show as show_module
from app.cli.demo.show import DemoFailed, Show
from app.client import RuntimeClient
from tests.app.cli.scripted import ScriptedRuntime
from tests.app.desktop.fake_runtime import a_result, a_run, a_step, an_agent

ENGINE, NEW_ENGINE = 4242, 4243
DOCUMENTS = (Path("/demo/a.md"), Path("/demo/b.pdf"))


class Recorder:
    """Notes the order of what the audience is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def began(self, status: Status, agent: AgentDetail) -> None:
        self.told.append(f"began with {agent.folders}")

    def arrived(self, number: int, of: int, file: Path) -> None:
        self.told.append(f"arrived {number}/{of} {file.name}")

    def happened(self, event: Event) -> None:
        self.told.append(event.data.type)

    def killed(self, engine_pid: int, file: Path) -> None:
        self.told.append(f"killed {engine_pid} at {file.name}")

    def recovered(self, engine: EngineInfo) -> None:
        self.told.append(f"recovered {engine.pid}")

    def ended(self, run: RunDetail) -> None:
        self.told.append(f"ended {run.id} {run.status}")


class Theatre:
    """A show with its recorder; dropped files and killed processes are notes in lists."""

    def __init__(self, fake: ScriptedRuntime, client: RuntimeClient) -> None:
        self.fake = fake
        self.inbox = fake.paths.root / "inbox"
        self.recorder = Recorder()
        self.dropped: list[str] = []
        self.killed: list[int] = []
        self.now = 0.0
        self.show = Show(
            client=client,
            inbox=self.inbox,
            documents=DOCUMENTS,
            drop=self._drop,
            kill=self._kill,
            reporter=self.recorder,
            monotonic=lambda: self.now,
        )

    def _drop(self, document: Path) -> Path:
        self.dropped.append(document.name)
        return self.inbox / document.name

    def _kill(self, pid: int) -> bool:
        self.killed.append(pid)
        return True

    def run(self, run_id: int, name: str, status: str = "running") -> RunChanged:
        run = a_run(run_id, file=str(self.inbox / name), status=status)
        return RunChanged(run=run)

    def set(self, change: RunChanged) -> Any:
        """A script step that makes the change true for whoever asks."""

        def apply() -> None:
            self.fake.runs[change.run.id] = change.run
            if change.run.status == "succeeded":
                self.fake.results.append(a_result(change.run.id))

        return apply

    def life(self, run_id: int, name: str, *between: Any, status: str = "succeeded") -> list[Any]:
        """The script of one run from its beginning to its end."""
        begun, ended = self.run(run_id, name), self.run(run_id, name, status)
        return [self.set(begun), begun, *between, self.set(ended), ended]


def answering(run_id: int, seq: int = 3) -> list[Any]:
    begun = a_step(seq, status="running", finished_at=None)
    return [
        StepChanged(run_id=run_id, step=begun),
        RunProgress(run_id=run_id, seq=seq, done_prompt_tokens=10, total_prompt_tokens=99),
        RunProgress(run_id=run_id, seq=seq, completion_tokens=7, tokens_per_s=88.0),
    ]


def engine(state: str, pid: int | None) -> EngineChanged:
    return EngineChanged(engine=EngineInfo(state=state, pid=pid))  # type: ignore[arg-type]


BACK = [engine("restarting", None), engine("starting", NEW_ENGINE), engine("ready", NEW_ENGINE)]


@pytest.fixture
def theatre(short_dir: Path) -> Iterator[Theatre]:
    fake = ScriptedRuntime(short_dir)
    fake.agents["Document digest"] = an_agent(paused=True, folders=[])
    fake.start()
    with RuntimeClient(fake.paths) as client:
        yield Theatre(fake, client)
    fake.stop()


def test_it_chooses_the_folder_drops_one_document_after_another_and_kills_the_engine_in_the_last(
    theatre: Theatre,
) -> None:
    theatre.fake.script(
        *theatre.life(1, "a.md", *answering(1)),
        *theatre.life(2, "b.pdf", *answering(2), *BACK),
    )
    outcome = theatre.show.play()
    assert outcome.ok(2)
    assert theatre.fake.agents["Document digest"].folders == [str(theatre.inbox)]
    assert theatre.dropped == ["a.md", "b.pdf"]
    assert theatre.killed == [ENGINE]
    assert [line for line in theatre.recorder.told if " " in line] == [
        f"began with ['{theatre.inbox}']",
        "arrived 1/2 a.md",
        "ended 1 succeeded",
        "arrived 2/2 b.pdf",
        f"killed {ENGINE} at b.pdf",
        f"recovered {NEW_ENGINE}",
        "ended 2 succeeded",
    ]


def test_the_engine_is_killed_once_and_only_while_it_writes(theatre: Theatre) -> None:
    reading = RunProgress(run_id=2, seq=3, done_prompt_tokens=1, total_prompt_tokens=99)
    killed_before_writing: list[list[int]] = []
    theatre.fake.script(
        *theatre.life(1, "a.md"),
        *theatre.life(
            2,
            "b.pdf",
            StepChanged(run_id=2, step=a_step(1, kind="read", status="running")),
            reading,
            0.1,
            lambda: killed_before_writing.append(list(theatre.killed)),
            *answering(2),
            *BACK,
            *answering(2),
        ),
    )
    assert theatre.show.play().ok(2)
    assert killed_before_writing == [[]]
    assert theatre.killed == [ENGINE]


def test_an_answer_too_fast_to_be_seen_is_caught_at_the_next_one(theatre: Theatre) -> None:
    begun = [StepChanged(run_id=2, step=a_step(seq, status="running")) for seq in (3, 4)]
    theatre.fake.script(*theatre.life(1, "a.md"), *theatre.life(2, "b.pdf", *begun, *BACK))
    assert theatre.show.play().ok(2)
    assert theatre.killed == [ENGINE]


def test_a_run_that_fails_does_not_stop_the_show_but_fails_the_demo(theatre: Theatre) -> None:
    theatre.fake.script(
        *theatre.life(1, "a.md", status="failed"), *theatre.life(2, "b.pdf", *answering(2), *BACK)
    )
    outcome = theatre.show.play()
    assert [run.status for run in outcome.runs] == ["failed", "succeeded"]
    assert outcome.restart_seen
    assert not outcome.ok(2)


def test_without_a_restart_the_demo_has_failed(theatre: Theatre) -> None:
    theatre.fake.script(*theatre.life(1, "a.md"), *theatre.life(2, "b.pdf", *answering(2)))
    outcome = theatre.show.play()
    assert outcome.killed_pid == ENGINE
    assert not outcome.ok(2)


def test_a_restart_that_fell_into_a_gap_is_found_in_the_state(theatre: Theatre) -> None:
    def restarted() -> None:
        fresh = theatre.fake.status.engine.model_copy(update={"pid": NEW_ENGINE})
        theatre.fake.status = theatre.fake.status.model_copy(update={"engine": fresh})

    theatre.fake.script(*theatre.life(1, "a.md"), *theatre.life(2, "b.pdf", *answering(2), 0.2, restarted))
    assert theatre.show.play().ok(2)


def test_runs_that_ended_in_a_gap_of_the_stream_are_found_in_the_state(theatre: Theatre) -> None:
    begun, ended = theatre.run(1, "a.md"), theatre.run(1, "a.md", "succeeded")
    theatre.fake.script(theatre.set(begun), begun, theatre.set(ended))  # and the stream ends
    theatre.fake.script(*theatre.life(2, "b.pdf", *answering(2), *BACK), after="GET /v1/runs/1")
    outcome = theatre.show.play()
    assert outcome.ok(2)
    assert theatre.dropped == ["a.md", "b.pdf"]


def test_events_of_other_files_are_not_told(theatre: Theatre) -> None:
    theatre.fake.script(
        *theatre.life(9, "other.md", *answering(9), status="failed"),
        *theatre.life(1, "a.md"),
        *theatre.life(2, "b.pdf", *answering(2), *BACK),
    )
    assert theatre.show.play().ok(2)
    assert "ended 9 failed" not in theatre.recorder.told


def test_a_model_that_was_set_aside_ends_the_demo_with_its_reason(theatre: Theatre) -> None:
    aside = EngineChanged(engine=EngineInfo(state="set_aside", reason="It died three times in five minutes."))
    theatre.fake.script(aside)
    with pytest.raises(DemoFailed, match="It died three times in five minutes"):
        theatre.show.play()


def test_a_runtime_that_ends_ends_the_demo(theatre: Theatre) -> None:
    theatre.fake.script(theatre.fake.leave, 0.3)
    with pytest.raises(DemoFailed, match="The runtime ended during the demo"):
        theatre.show.play()


def test_a_document_that_nobody_handles_ends_the_demo(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_module, "SILENCE_S", 0.1)

    looks = itertools.count(0, show_module.STALL_S / 2)  # each look at the clock is that much later
    monkeypatch.setattr(theatre.show, "_monotonic", lambda: next(looks))
    with pytest.raises(DemoFailed, match=r"Nothing was heard about a\.md for 180 s"):
        theatre.show.play()
