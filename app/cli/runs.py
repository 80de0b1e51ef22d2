"""`hearth runs`: list, show, follow, cancel, retry, replay, and the due times behind them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Invocation, absolute, home_option, json_option, request, shared_options
from app.cli.moments import MOMENT
from app.cli.output import emit, room, say
from app.cli.run_words import (
    describe_occurrence,
    describe_occurrences,
    describe_run,
    describe_runs,
    side_by_side,
)

if TYPE_CHECKING:
    from agents.contract import RunDetail
    from app.client import RuntimeClient

_STATUSES = ("pending", "running", "waiting_for_approval", "succeeded", "unverified", "failed", "cancelled")
_DUE_STATUSES = ("scheduled", "claimed", *_STATUSES, "missed", "skipped")
_TRIGGERS = (
    "cron",
    "interval",
    "once",
    "file_changed",
    "start",
    "wake",
    "idle",
    "webhook",
    "result",
    "manual",
)


_POLL_S = 0.25


class RunNumber(click.ParamType[int]):
    """The number of a run: what a row of the database can have."""

    name = "number"
    refusal = "is not a run's number; `hearth runs list` shows them."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        if text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) < 2**63:
            return int(text)
        raise click.UsageError(f"{text!r} {self.refusal}", ctx)


class OccurrenceNumber(RunNumber):
    """The number of a due time."""

    refusal = "is not a due time's number; `hearth runs occurrences` shows them."


_RUN_ID = RunNumber()


_limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 200),
    default=20,
    show_default=True,
    metavar="N",
    help="At most so many.",
)


@click.group()
@home_option
@json_option
def runs() -> None:
    """See what the agents did, follow a run, cancel one."""


@runs.command("list")
@shared_options
@click.option("--agent", metavar="NAME", help="Only the runs of this agent.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs that stand so.")
@click.option("--trigger", type=click.Choice(_TRIGGERS), help="Only runs that began so.")
@click.option(
    "--search", metavar="WORDS", help="Only runs with these words in their agent, file, reason or result."
)
@click.option(
    "--since", type=MOMENT, help="Only runs from then on: 2026-12-01, '2026-12-01 09:00', today, 3h, 7d."
)
@click.option("--until", type=MOMENT, help="Only runs from before then.")
@_limit_option
@click.option("--before", type=_RUN_ID, metavar="ID", help="Only runs older than this one, to read on.")
def list_runs(call: Invocation, limit: int, **wanted: Any) -> None:
    """List the runs, the highest number first."""
    with call.runtime() as client:
        found = client.runs(limit=limit, **wanted)
    if call.json:
        emit(found)
    elif not found:
        say("No runs." if any(wanted.values()) else "No runs yet; put a document into a watched folder.")
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


@runs.command(short_help="List due times, missed and skipped ones too, or show one.")
@shared_options
@click.argument("occurrence_id", metavar="[ID]", type=OccurrenceNumber(), required=False)
@click.option("--agent", metavar="NAME", help="Only those of this agent.")
@click.option("--status", type=click.Choice(_DUE_STATUSES), help="Only those that stand so.")
@click.option("--since", type=MOMENT, help="Only those due from then on: 2026-12-01, today, 3h, 7d.")
@click.option("--until", type=MOMENT, help="Only those due before then.")
@_limit_option
@click.option("--before", type=_RUN_ID, metavar="ID", help="Only rows older than this one, to read on.")
def occurrences(call: Invocation, occurrence_id: int | None, limit: int, **wanted: Any) -> None:
    """List due times, the highest number first: also those that were missed or skipped, with the reason.

    With ID it shows that one, and what its gates said.
    """
    if occurrence_id is not None:
        _show_occurrence(call, occurrence_id)
        return
    with call.runtime() as client:
        found = client.occurrences(limit=limit, **wanted)
    if call.json:
        emit(found)
    elif not found:
        say("No due times.")
    else:
        say(describe_occurrences(found, columns=room()))


def _show_occurrence(call: Invocation, occurrence_id: int) -> None:
    with call.runtime() as client:
        found = client.occurrence(occurrence_id)
    if call.json:
        emit(found)
    else:
        say(describe_occurrence(found))


@runs.command(short_help="Do a run's work once more.")
@shared_options
@click.argument("run_id", metavar="ID", type=_RUN_ID)
def retry(call: Invocation, run_id: int) -> None:
    """Do the work of a run that has ended once more, as a new run."""
    with call.runtime() as client:
        run = client.retry_run(run_id)
    if call.json:
        emit(run)
    else:
        say(f"Run {run.id} does the work of run {run_id} again (`hearth runs follow {run.id}`).")


@runs.command(short_help="Ask the model anew, and compare the results.")
@shared_options
@click.argument("run_id", metavar="ID", type=_RUN_ID)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask this model, a GGUF file, or built-in; otherwise the agent's own.",
)
@click.option(
    "--revision",
    type=click.IntRange(1),
    metavar="N",
    help="By this revision of the agent; otherwise the run's own.",
)
def replay(call: Invocation, run_id: int, model: Path | None, revision: int | None) -> int:
    """Ask the model anew about what a run had recorded, and show both results side by side.

    Nothing outside of Hearth is read or changed. The exit code is 0 when the replay succeeded, else 1.
    """
    from agents.contract import Replay

    named = None if model is None else _model_name(model)
    with call.runtime() as client:
        begun = client.replay_run(run_id, request(Replay, model=named, revision=revision))
        ended = _ended(client, begun.id)
        original = client.run(run_id)
    if call.json:
        emit({"original": original, "replay": ended})
    else:
        say(side_by_side(original, ended))
    return 0 if ended.status == "succeeded" else 1


def _model_name(model: Path) -> str:
    return "built-in" if str(model) == "built-in" else absolute(model, what="model file")


def _ended(client: RuntimeClient, run_id: int) -> RunDetail:
    """Waits for it; Ctrl-C leaves it at work."""
    while True:
        run = client.run(run_id)
        if run.finished_at is not None:
            return run
        time.sleep(_POLL_S)
