"""How the demo tells what happens: lines for a person, or one JSON object per event for a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.contract import (
    AgentDetail,
    EngineChanged,
    EngineInfo,
    Event,
    Notice,
    RunChanged,
    RunDetail,
    Status,
    StepChanged,
)
from app.cli.demo.show import Outcome
from app.cli.demo.stage import Stage
from app.cli.narrate import Narrator, describe_end, describe_result
from app.cli.output import count, file_name, pairs, paragraph, printable, rate, table, terminal_columns, took
from app.cli.screen import Screen


class PersonReporter:
    """Lines for a person; reads well on a terminal and in the log of a build."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._narrator = Narrator(screen)
        self._killed = False

    def opened(self, stage: Stage) -> None:
        self._screen.line(
            "Hearth demo: three documents, one agent, the built-in model, nothing leaves this machine."
        )
        self._screen.line()
        self._screen.hint("starting the runtime…")
        self._stage = stage

    def began(self, status: Status, agent: AgentDetail) -> None:
        home = f"{self._stage.home} ({'encrypted' if status.encrypted else 'not encrypted'}, throw-away)"
        self._screen.line(
            pairs(
                [
                    ("home", home),
                    ("runtime", f"version {status.version}, process {status.pid}"),
                    ("agent", f"{agent.name}: {'; '.join(agent.asks)}"),
                ]
            )
        )

    def arrived(self, number: int, of: int, file: Path) -> None:
        self._screen.line()
        self._screen.line(f"{number}/{of}  {file.name} ({_size(file)}) arrives in the watched folder")
        self._screen.hint("  … waiting until the file is complete")

    def happened(self, event: Event) -> None:
        is_recovery = isinstance(event.data, EngineChanged) and event.data.engine.state in ("ready", "busy")
        if not (self._killed and is_recovery):  # `recovered` says it better
            self._narrator.tell(event)

    def killed(self, engine_pid: int, file: Path) -> None:
        self._killed = True
        self._screen.line(
            f"  x the engine (process {engine_pid}) is killed in the middle of its answer, on purpose"
        )

    def recovered(self, engine: EngineInfo) -> None:
        self._screen.line(f"  + the engine is back (process {engine.pid}); the step is done once more")

    def ended(self, run: RunDetail) -> None:
        self._screen.line(f"  {describe_end(run)}")
        if run.result is not None:
            self._screen.line()
            self._screen.line(describe_result(run.result, indent="     "))

    def done(self, outcome: Outcome, *, ok: bool, kept: bool, problem: str | None) -> None:
        self._screen.line()
        if outcome.runs:
            self._screen.line(_table(outcome.runs))
            self._screen.line()
        if ok:
            self._screen.line(
                paragraph(
                    "A file arrived, an agent noticed it, a local model read it, and the result was stored encrypted, "
                    "three times; and when the engine died in the middle of its work, the work went on."
                )
            )
        elif problem is None:
            self._screen.line(_what_is_missing(outcome))
        if kept:
            self._screen.line()
            self._screen.line(
                f"The home was kept: `hearth --home {self._stage.home}` opens the desktop on it."
            )
        if ok:
            self._screen.line()
            self._screen.line("Next: `hearth` opens the desktop, `hearth serve` runs without a window,")
            self._screen.line(
                '      `hearth agents folders "Document digest" DIR` watches a folder of yours.'
            )


class JsonReporter:
    """One JSON object per line; the last one is {"event": "done", …}."""

    def __init__(self) -> None:
        self._engine: tuple[str, int | None] | None = None

    def opened(self, stage: Stage) -> None:
        self._print("opened", home=str(stage.home), folder=str(stage.inbox))

    def began(self, status: Status, agent: AgentDetail) -> None:
        self._print(
            "began", version=status.version, pid=status.pid, encrypted=status.encrypted, agent=agent.name
        )

    def arrived(self, number: int, of: int, file: Path) -> None:
        self._print("arrived", number=number, of=of, file=file.name, size_bytes=file.stat().st_size)

    def happened(self, event: Event) -> None:
        data = event.data
        if isinstance(data, EngineChanged):
            before, self._engine = self._engine, (data.engine.state, data.engine.pid)
            if self._engine == before:
                return
        elif not isinstance(data, StepChanged | RunChanged | Notice):
            return
        self._print(data.type, at=event.at.isoformat(), **data.model_dump(mode="json", exclude={"type"}))

    def killed(self, engine_pid: int, file: Path) -> None:
        self._print("engine_killed", pid=engine_pid, file=file.name)

    def recovered(self, engine: EngineInfo) -> None:
        self._print("engine_recovered", pid=engine.pid)

    def ended(self, run: RunDetail) -> None:
        self._print("ended", **_summary(run))

    def done(self, outcome: Outcome, *, ok: bool, kept: bool, problem: str | None) -> None:
        self._print(
            "done",
            ok=ok,
            engine_restart_seen=outcome.restart_seen,
            problem=problem or (None if ok else _what_is_missing(outcome)),
            runs=[_summary(run) for run in outcome.runs],
        )

    def _print(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


def _summary(run: RunDetail) -> dict[str, Any]:
    result = run.result
    return {
        "file": file_name(run.file),
        "status": run.status,
        "reason": run.reason,
        "title": result.title if result else None,
        "summary": result.summary if result else None,
        "action_items": result.action_items if result else [],
        "category": result.category if result else None,
        "tokens": run.tokens,
        "tokens_per_s": run.tokens_per_s,
    }


def _table(runs: list[RunDetail]) -> str:
    rows = [
        (
            file_name(run.file),
            run.status,
            took(run.started_at, run.finished_at),
            f"{run.tokens:,}",
            rate(run.tokens_per_s),
            run.title or run.reason or "",
        )
        for run in runs
    ]
    headings = ("FILE", "STATUS", "TOOK", "TOKENS", "SPEED", "TITLE")
    return table(headings, rows, right=(2, 3, 4), columns=terminal_columns())


def _what_is_missing(outcome: Outcome) -> str:
    failed = [run for run in outcome.runs if run.status != "succeeded"]
    if failed:
        return f"{count(len(failed), 'run')} did not succeed, so the demo has failed."
    if outcome.killed_pid is None:
        return "The engine could not be killed while it worked, so its recovery was not shown."
    return "The engine was not seen to come back, so the demo has failed."


def _size(file: Path) -> str:
    return printable(f"{max(1, round(file.stat().st_size / 1000)):,} kB")
