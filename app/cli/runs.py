"""`hearth runs`: list, show, follow, cancel."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Invocation, home_option, json_option, shared_options
from app.cli.output import (
    GAP_COLUMNS,
    ago,
    columns_of,
    elide,
    emit,
    file_name,
    one_line,
    pairs,
    rate,
    say,
    table,
    terminal_columns,
    took,
)

if TYPE_CHECKING:
    from agents.contract import RunDetail, RunInfo

_STATUSES = ("pending", "running", "succeeded", "failed", "cancelled")
_AGENT_COLUMNS, _FILE_COLUMNS, _SHORT_FILE_COLUMNS = 24, 32, 12
_RESULT_COLUMNS = 20  # that the result gets before any other column is spared


class RunNumber(click.ParamType[int]):
    """The number of a run: what a row of the database can have."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        if text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) < 2**63:
            return int(text)
        raise click.UsageError(f"{text!r} is not a run's number; `hearth runs list` shows them.", ctx)


_RUN_ID = RunNumber()


@click.group()
@home_option
@json_option
def runs() -> None:
    """See what the agents did, follow a run, cancel one."""


@runs.command("list")
@shared_options
@click.option("--agent", metavar="NAME", help="Only the runs of this agent.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs that stand so.")
@click.option(
    "--limit",
    type=click.IntRange(1, 200),
    default=20,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@click.option("--before", type=_RUN_ID, metavar="ID", help="Only runs older than this one, to read on.")
def list_runs(
    call: Invocation, agent: str | None, status: str | None, limit: int, before: int | None
) -> None:
    """List the runs, newest first."""
    with call.runtime() as client:
        found = client.runs(agent=agent, status=status, limit=limit, before=before)
    if call.json:
        emit(found)
    elif not found:
        say("No runs." if agent or status or before else "No runs yet; put a document into a watched folder.")
    else:
        say(describe_runs(found))


@runs.command()
@shared_options
@click.argument("run_id", metavar="ID", type=_RUN_ID)
def show(call: Invocation, run_id: int) -> None:
    """Show one run with its steps and its result."""
    with call.runtime() as client:
        run = client.run(run_id)
    if call.json:
        emit(run)
    else:
        say(describe_run(run))


@runs.command()
@shared_options
@click.argument("run_id", metavar="[ID]", type=_RUN_ID, required=False)
@click.option(
    "--reconnect",
    "reconnect_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a runtime that went away.",
)
def follow(call: Invocation, run_id: int | None, reconnect_s: float) -> int:
    """Show a run's steps as they happen, until it ends.

    Without ID it follows the run that is at work, or else the next one to begin. It goes on when the runtime is started
    again meanwhile. The exit code is 0 when the run succeeded and 1 when it failed or was cancelled.
    """
    from app.cli.follow import Follower, JsonListener, PersonListener
    from app.cli.screen import Screen

    with call.runtime() as client:
        screen = Screen(sys.stdout, log_hints=True)
        listener = JsonListener() if call.json else PersonListener(screen)
        try:
            run = Follower(client, listener, run_id=run_id, reconnect_s=reconnect_s).follow()
        finally:
            screen.clear()
    return 0 if run.status == "succeeded" else 1


@runs.command()
@shared_options
@click.argument("run_id", metavar="ID", type=_RUN_ID)
def cancel(call: Invocation, run_id: int) -> None:
    """End a run that waits or works."""
    with call.runtime() as client:
        run = client.cancel_run(run_id)
    if call.json:
        emit(run)
    else:
        say(
            f"Run {run.id} is {run.status}."
            if run.status == "cancelled"
            else f"Run {run.id} is being cancelled."
        )


# --- words ---------------------------------------------------------------------------------------


def describe_runs(found: list[RunInfo], *, columns: int | None = None) -> str:
    """A table for so many columns (default: the terminal's): no name is so long that no room is left for the result."""
    width = columns or terminal_columns()
    cells: dict[str, list[str]] = {
        "ID": [str(run.id) for run in found],
        "STATUS": [run.status for run in found],
        "WHEN": [ago(run.finished_at or run.started_at or run.created_at) for run in found],
        "TOOK": [took(run.started_at, run.finished_at) for run in found],
        "SPEED": [rate(run.tokens_per_s) for run in found],
        "AGENT": [elide(one_line(run.agent), _AGENT_COLUMNS) for run in found],
        "FILE": [elide(file_name(run.file), _FILE_COLUMNS) for run in found],
        "RESULT": [run.title or run.reason or "" for run in found],
    }
    file_columns = 0
    for spared in ("", "SPEED", "TOOK", "AGENT", "WHEN"):
        cells.pop(spared, None)
        taken = sum(
            _width(heading, texts) + GAP_COLUMNS
            for heading, texts in cells.items()
            if heading not in ("FILE", "RESULT")
        )
        file_columns = width - taken - GAP_COLUMNS - _RESULT_COLUMNS
        if file_columns >= min(_SHORT_FILE_COLUMNS, _width("FILE", cells["FILE"])):
            break
    cells["FILE"] = [elide(name, max(_SHORT_FILE_COLUMNS, file_columns)) for name in cells["FILE"]]
    right = [number for number, heading in enumerate(cells) if heading in ("ID", "TOOK", "SPEED")]
    return table(list(cells), list(zip(*cells.values(), strict=True)), right=right, columns=width)


def _width(heading: str, texts: list[str]) -> int:
    return max(columns_of(text) for text in (heading, *texts))


def describe_run(run: RunDetail) -> str:
    from app.cli.narrate import describe_result, describe_step

    rows = [
        ("status", run.status + (f": {run.reason}" if run.reason else "")),
        ("agent", f"{run.agent}, revision {run.revision}"),
        ("file", run.file or "–"),
        ("trigger", run.trigger.replace("_", " ")),
        ("begun", ago(run.started_at) + (f", attempt {run.attempt}" if run.attempt > 1 else "")),
        ("took", took(run.started_at, run.finished_at) or "–"),
        ("model", run.model or "–"),
        ("tokens", f"{run.tokens:,}" + (f", {rate(run.tokens_per_s)}" if run.tokens_per_s else "")),
    ]
    lines = [f"Run {run.id}", pairs(rows)]
    if run.steps:
        lines += ["", "Steps", *(describe_step(step) for step in run.steps)]
    if run.result is not None:
        lines += ["", "Result", describe_result(run.result)]
    return "\n".join(lines)
