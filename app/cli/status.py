"""`hearth status`: what the runtime of a home is doing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from app.cli.common import Invocation, shared_options
from app.cli.output import ago, count, emit, pairs, rate, say

if TYPE_CHECKING:
    from agents.contract import EngineInfo, SchedulerInfo, Status


@click.command()
@shared_options
def status(call: Invocation) -> None:
    """Show whether Hearth runs, its engine, its agents and its work."""
    with call.runtime() as client:
        answer = client.status()
    if call.json:
        emit(answer)
    else:
        say(describe_status(answer))


def describe_status(status: Status) -> str:
    looked = "not yet" if status.last_tick is None else ago(status.last_tick)
    if status.next_tick is not None:
        looked += f", next {ago(status.next_tick)}"
    rows = [
        ("home", f"{status.home} ({'encrypted' if status.encrypted else 'not encrypted'})"),
        ("running", f"since {ago(status.started_at)}, process {status.pid}"),
        ("engine", describe_engine(status.engine, told=status.notices)),
        *([("plan", status.engine.plan)] if status.engine.plan else []),
        ("agents", f"{count(status.agents, 'agent')}, {status.agents_paused} paused"),
        ("runs", f"{status.runs_running} running, {status.runs_pending} waiting"),
        ("folders", f"last look: {looked}"),
        ("schedule", describe_schedule(status.scheduler, told=status.notices)),
        *([("power", status.governor.reason)] if status.governor.reason else []),
    ]
    lines = [f"Hearth {status.version}", pairs(rows)]
    notices = list(status.notices)
    if status.agents_stopped:
        notices.append(f"{status.agents_stopped} `hearth agents resume --all` lets them go on.")
    notices += [f"{ago(each.at)}: {each.detail}" for each in status.scheduler.incidents]
    if status.recovery_code_pending:
        notices.append("The recovery code has not been written down yet; `hearth` shows it.")
    lines += [f"  ! {notice}" for notice in dict.fromkeys(notices)]
    return "\n".join(lines)


def describe_schedule(scheduler: SchedulerInfo, *, told: Sequence[str] = ()) -> str:
    """One line: that due times are looked at, and when the next one is; a trouble unless one of the sentences `told` says it."""
    looked = "not looked at yet" if scheduler.last_tick is None else f"last tick {ago(scheduler.last_tick)}"
    if scheduler.next_due is None:
        due = "nothing is due at a known time"
    else:
        is_overdue = scheduler.next_due < datetime.now(UTC)
        due = f"{'one was due' if is_overdue else 'next due'} {ago(scheduler.next_due)}"
    trouble = scheduler.trouble
    is_told = trouble is None or any(trouble in sentence for sentence in told)
    return f"{looked}, {due}" + ("" if is_told else f". {trouble}")


def describe_engine(engine: EngineInfo, *, told: Sequence[str] = ()) -> str:
    """One line: the state, and what a user would ask next about it, unless one of the sentences `told` says it."""
    is_set_aside = engine.state == "set_aside"
    words = [engine.state.replace("_", " ")]
    if engine.load_progress is not None and engine.load_progress < 1:
        words.append(f"{engine.load_progress:.0%} loaded")
    if engine.model:
        words.append(engine.model)
    if engine.n_ctx:
        words.append(f"{engine.n_ctx:,} tokens of context")
    if engine.tokens_per_s is not None and not is_set_aside:
        words.append(rate(engine.tokens_per_s))
    if engine.deaths and not is_set_aside:
        words.append(f"restarted after {count(engine.deaths, 'death')}")
    line = ", ".join(words)
    extra = (engine.reason or engine.notice or "").rstrip(".")
    if extra and not any(extra in sentence for sentence in told):
        line += f". {extra[0].upper()}{extra[1:]}."
        if is_set_aside:
            line += " `hearth doctor --retry` tries it again."
    return line
