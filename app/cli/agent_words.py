"""Agents as a person reads them on a terminal: tables, pairs, sentences; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.output import ago, count, pairs, table, terminal_columns

if TYPE_CHECKING:
    from agents.contract import AgentDetail, AgentInfo, DueTime


def describe_agents(found: list[AgentInfo]) -> str:
    """A table; columns about time and waking are there once an agent has something to say in them."""
    cells = {
        "NAME": [agent.name for agent in found],
        "STATE": [_state(agent) for agent in found],
        "NEXT DUE": [agent.next_due_words or "" for agent in found],
        "WAITING": [str(agent.waiting - agent.running) for agent in found],
        "DONE": [str(agent.succeeded) for agent in found],
        "FAILED": [str(agent.failed) for agent in found],
        "LAST RUN": [_last_run(agent) for agent in found],
        "WOKE": [describe_wakings(agent) if agent.woken else "" for agent in found],
        "FOLDERS": [", ".join(agent.folders) or _instead_of_folders(agent) for agent in found],
    }
    for name in ("NEXT DUE", "WOKE"):
        if not any(cells[name]):
            del cells[name]
    right = [number for number, name in enumerate(cells) if name in ("WAITING", "DONE", "FAILED")]
    rows = list(zip(*cells.values(), strict=True))
    text = table(list(cells), rows, right=right, columns=terminal_columns())
    problems = [
        f"{agent.name}: {said}"
        for agent in found
        if (said := agent.problem or agent.paused_reason or agent.waits)
    ]
    return "\n".join([text, *problems])


def describe_due_times(found: list[DueTime]) -> str:
    """One line each; where a trigger goes by another clock than the user's, both are told, and whose is which."""
    lines = []
    if any(due.there for due in found):
        lines.append(f"Times are by your clock{f' ({found[0].zone})' if found[0].zone else ''}.")
    for due in found:
        marks = [
            due.trigger,
            *([f"there {due.there}"] if due.there else []),
            *(["armed"] if due.armed else []),
        ]
        lines.append(f"{due.words}  ({'; '.join(marks)})")
        if due.note:
            lines.append(f"    {due.note}")
    return "\n".join(lines)


def describe_waking(agent: AgentInfo) -> str:
    """When an agent with triggers will be at work next, in one sentence."""
    if agent.paused:
        return "It is paused; `hearth agents resume` lets it work."
    if agent.next_due_words:
        return f"It is next due {agent.next_due_words}."
    return f"It works {' and '.join(agent.triggers)}."


def describe_wakings(agent: AgentInfo) -> str:
    """How often it was woken, and how often that ended without a run, before anything was spent."""
    return f"{agent.woken:,}×, {agent.free:,} free"


def _instead_of_folders(agent: AgentInfo) -> str:
    return "none chosen" if agent.kind == "digest" else "none"


def describe_agent(agent: AgentDetail) -> str:
    rows = [
        ("state", _state(agent)),
        ("about", agent.description),
        ("may", "; ".join(agent.asks) or "nothing yet"),
        *(("wakes" if not number else "", each) for number, each in enumerate(agent.triggers)),
        *(("note" if not number else "", each) for number, each in enumerate(agent.notes)),
        *(("gates" if not number else "", each) for number, each in enumerate(agent.gates)),
        *(("policies" if not number else "", each) for number, each in enumerate(agent.policies)),
        *([("next due", agent.next_due_words)] if agent.next_due_words else []),
        *([("waits", agent.waits)] if agent.waits else []),
        *([("woke", describe_wakings(agent))] if agent.woken else []),
        *([("folders", ", ".join(agent.folders) or "none chosen")] if agent.kind == "digest" else []),
        *([("files", ", ".join(agent.patterns))] if agent.patterns else []),
        *([("writes to", agent.write_folder)] if agent.write_folder else []),
        ("model", agent.model),
        ("notifies", agent.notify),
        ("runs", _runs(agent)),
        ("last run", _last_run(agent)),
        ("revision", f"{agent.revision} of {count(len(agent.revisions), 'revision')}"),
    ]
    if agent.problem or agent.paused_reason:
        rows.insert(1, ("problem", agent.problem or agent.paused_reason or ""))
    return "\n".join([agent.name, pairs(rows), "", agent.source.rstrip()])


def _state(agent: AgentInfo) -> str:
    if agent.paused:
        return "paused"
    if agent.stopped:
        return "stopped"
    if agent.problem:
        return "problem"
    return "running" if agent.running else "on"


def _runs(agent: AgentInfo) -> str:
    waiting = agent.waiting - agent.running
    return f"{agent.running} running, {waiting} waiting, {agent.succeeded} succeeded, {agent.failed} failed"


def _last_run(agent: AgentInfo) -> str:
    run = agent.last_run
    if run is None:
        return "never"
    return f"{run.status} {ago(run.finished_at or run.started_at or run.created_at)}"
