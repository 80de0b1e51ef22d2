"""What the Agents page says about each agent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agents.contract import AgentInfo
from app.desktop.models import words


@dataclass(frozen=True, kw_only=True)
class AgentView:
    """One agent in words."""

    name: str
    description: str
    state: str
    role: str
    icon: str
    folders: tuple[str, ...]
    patterns: str
    problem: str
    counts: str
    last_run: str
    last_run_id: int | None
    wakes: tuple[str, ...]  # what wakes it, beside files in its folders, and what must hold then
    next_due: str
    wakings: str  # how often it woke, and how often for free
    asks_for_folders: bool  # it reads documents, and no folder was chosen yet
    paused: bool
    can_run: bool
    run_tooltip: str  # why it can't be run now


def agent_view(agent: AgentInfo, now: datetime) -> AgentView:
    state, role, icon = _state(agent)
    return AgentView(
        name=agent.name,
        description=agent.description,
        state=state,
        role=role,
        icon=icon,
        folders=tuple(agent.folders),
        patterns=", ".join(agent.patterns),
        problem=_problem(agent),
        counts=_counts(agent),
        last_run=_last_run(agent, now),
        last_run_id=agent.last_run.id if agent.last_run else None,
        wakes=(*(agent.triggers if agent.kind != "digest" else ()), *agent.gates),
        next_due=_next_due(agent, now),
        wakings=f"woke {agent.woken:,}×, {agent.free:,} free" if agent.woken else "",
        asks_for_folders=asks_for_folders(agent),
        paused=agent.paused,
        can_run=not asks_for_folders(agent) and not agent.paused,
        run_tooltip="It is paused; resume it first." if agent.paused else "",
    )


def _next_due(agent: AgentInfo, now: datetime) -> str:
    """What happened and waits for a gate comes first."""
    if agent.paused:
        return ""
    due = f"Next due {words.due_time(agent.next_due, now)}" if agent.next_due else ""
    return " ".join(filter(None, (agent.waits, due)))


def asks_for_folders(agent: AgentInfo) -> bool:
    """Whether it can do nothing before somebody chooses a folder."""
    return agent.kind == "digest" and not agent.folders


def _problem(agent: AgentInfo) -> str:
    if asks_for_folders(agent):
        return ""
    return agent.problem or agent.paused_reason or ""


def _state(agent: AgentInfo) -> tuple[str, str, str]:
    if asks_for_folders(agent):
        return "Needs a folder", "warning", "folder-open"
    if agent.paused:
        return "Paused", "muted", "pause-circle"
    if agent.problem:
        return "Can't work", "danger", "warning-circle"
    if agent.waiting:
        return "Working", "accent", "fire"
    return ("Watching" if agent.folders else "On"), "ok", "check-circle"


def _counts(agent: AgentInfo) -> str:
    if not (agent.succeeded or agent.failed or agent.waiting):
        return ""
    parts = [f"{agent.succeeded:,} done", f"{agent.failed:,} failed"]
    if agent.waiting:
        parts.append(f"{agent.waiting:,} waiting or working")
    return " · ".join(parts)


def _last_run(agent: AgentInfo, now: datetime) -> str:
    run = agent.last_run
    if run is None:
        return ""
    moment = run.finished_at or run.started_at or run.created_at
    title = words.one_line(run.title or words.run_subject(run))
    return f"{title} · {words.STATUS_WORDS[run.status].lower()} · {words.ago(moment, now)}"
