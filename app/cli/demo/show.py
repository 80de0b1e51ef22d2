"""The demo's play: documents arrive one after another, and in the middle of the last the engine is killed.

Events drive it; after a gap in their stream the state is read anew. It touches processes and files only through the
two functions that it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agents.contract import (
    AgentDetail,
    EngineChanged,
    EngineInfo,
    Event,
    FoldersChange,
    RunChanged,
    RunDetail,
    RunFailed,
    RunInfo,
    RunProgress,
    Status,
    StepChanged,
)
from app.cli.follow import FINAL, SILENCE_S
from app.client import ClientError, RuntimeClient, RuntimeUnreachable

DIGEST_AGENT = "Document digest"
# Progress is told a few times a second; so long without any news about a document means that none will come.
STALL_S = 180.0


class DemoFailed(ClientError):
    """The demo can't go on; str() says why."""


class Reporter(Protocol):
    """Who is told what happens, in the order in which it does."""

    def began(self, status: Status, agent: AgentDetail) -> None: ...
    def arrived(self, number: int, of: int, file: Path) -> None: ...
    def happened(self, event: Event) -> None: ...
    def killed(self, engine_pid: int, file: Path) -> None: ...
    def recovered(self, engine: EngineInfo) -> None: ...
    def ended(self, run: RunDetail) -> None: ...


@dataclass(kw_only=True)
class Outcome:
    """What came of it: one ended run per document that got that far."""

    runs: list[RunDetail] = field(default_factory=list)
    killed_pid: int | None = None
    restart_seen: bool = False

    def ok(self, documents: int) -> bool:
        return (
            len(self.runs) == documents
            and all(run.status == "succeeded" for run in self.runs)
            and self.restart_seen
        )


class Show:
    """One demo. `drop` lets a document arrive and returns its place; `kill` ends a process by its pid."""

    def __init__(
        self,
        *,
        client: RuntimeClient,
        inbox: Path,
        documents: Sequence[Path],
        drop: Callable[[Path], Path],
        kill: Callable[[int], bool],
        reporter: Reporter,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outcome = Outcome()
        self._client = client
        self._inbox = inbox
        self._documents = list(documents)
        self._drop = drop
        self._kill = kill
        self._reporter = reporter
        self._monotonic = monotonic
        self._next = 0  # index of the next document to arrive
        self._file: Path | None = None  # the one in work
        self._run_id: int | None = None
        self._model_steps = 0  # that began in the run in work
        self._last_news_at = monotonic()

    def play(self) -> Outcome:
        """Returns when every document's run has ended; DemoFailed when one can't end any more."""
        agent = self._client.set_folders(DIGEST_AGENT, FoldersChange(folders=[str(self._inbox)]))
        self._reporter.began(self._client.status(), agent)
        while not self._finished:
            try:
                self._listen()
            except RuntimeUnreachable as error:
                raise DemoFailed(f"The runtime ended during the demo. {error}") from error
            self._refuse_stall()
        if not self.outcome.restart_seen:
            self._look_for_restart(self._client.status().engine)
        return self.outcome

    @property
    def _finished(self) -> bool:
        return self._file is None and self._next == len(self._documents)

    @property
    def _on_last(self) -> bool:
        return self._next == len(self._documents)

    def _listen(self) -> None:
        with self._client.events(silence_s=SILENCE_S) as events:
            if self._file is None:
                self._begin_next()
            else:
                self._read_state()
            for event in () if self._finished else events:
                self._on(event)
                if self._finished:
                    return

    def _begin_next(self) -> None:
        document = self._documents[self._next]
        self._next += 1
        self._file = self._drop(document)
        self._run_id, self._model_steps = None, 0
        self._last_news_at = self._monotonic()
        self._reporter.arrived(self._next, len(self._documents), self._file)

    def _read_state(self) -> None:
        for run in self._client.runs(limit=20):
            if run.file == str(self._file):
                self._on_run(run)
                return

    def _on(self, event: Event) -> None:
        data = event.data
        if isinstance(data, EngineChanged):
            self._on_engine(event, data.engine)
        elif isinstance(data, RunChanged | RunFailed):
            if data.run.file == str(self._file):
                self._reporter.happened(event)
                self._on_run(data.run)
        elif isinstance(data, StepChanged | RunProgress):
            if data.run_id == self._run_id:
                self._last_news_at = self._monotonic()
                self._reporter.happened(event)
                self._maybe_kill(data)
        else:
            self._reporter.happened(event)

    def _on_run(self, run: RunInfo) -> None:
        self._run_id = run.id
        self._last_news_at = self._monotonic()
        if run.status not in FINAL:
            return
        ended = self._client.run(run.id)
        self.outcome.runs.append(ended)
        self._reporter.ended(ended)
        self._file = None
        if not self._finished:
            self._begin_next()

    # --- the engine's death ----------------------------------------------------------------------

    def _maybe_kill(self, data: StepChanged | RunProgress) -> None:
        """Kills the engine once, while it writes an answer for the last document.

        A machine so fast that no progress is told meanwhile is caught at the beginning of a later answer.
        """
        if isinstance(data, StepChanged) and data.step.kind == "model" and data.step.status == "running":
            self._model_steps += 1
        writes = isinstance(data, RunProgress) and data.completion_tokens > 0
        if self.outcome.killed_pid is not None or not self._on_last or not (writes or self._model_steps > 1):
            return
        engine_pid = self._client.status().engine.pid
        if engine_pid is None or not self._kill(engine_pid):
            return
        self.outcome.killed_pid = engine_pid
        assert self._file is not None
        self._reporter.killed(engine_pid, self._file)

    def _on_engine(self, event: Event, engine: EngineInfo) -> None:
        self._reporter.happened(event)
        self._look_for_restart(engine)
        if engine.state == "set_aside":
            reason = engine.reason or "the engine gave no reason"
            raise DemoFailed(f"The built-in model can't be used on this machine: {reason}")

    def _look_for_restart(self, engine: EngineInfo) -> None:
        killed = self.outcome.killed_pid
        if self.outcome.restart_seen or killed is None or engine.pid in (None, killed):
            return
        if engine.state in ("ready", "busy"):
            self.outcome.restart_seen = True
            self._reporter.recovered(engine)

    def _refuse_stall(self) -> None:
        if not self._finished and self._monotonic() - self._last_news_at > STALL_S:
            name = self._file.name if self._file is not None else "the next document"
            raise DemoFailed(
                f"Nothing was heard about {name} for {STALL_S:.0f} s; look at {self._client.paths.runtime_log}."
            )
