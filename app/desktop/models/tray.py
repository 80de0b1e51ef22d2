"""What the tray icon says: its shape, its tooltip and the lines of its menu. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.desktop.link.states import LinkState
from app.desktop.models import words
from app.desktop.models.world import World


class TrayShape(StrEnum):
    """States differ by shape, so that they can be told apart without colours. Values are names of files."""

    IDLE = "idle"
    WORKING = "working"
    PAUSED = "paused"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class TrayView:
    shape: TrayShape
    status: str
    running: str  # empty when nothing runs
    schedule: str  # when due times were last looked at, what is next, and what holds work back
    can_switch: bool
    stopped: bool  # the one switch for all agents

    @property
    def tooltip(self) -> str:
        return "\n".join(part for part in (f"Hearth: {self.status}", self.schedule) if part)


def tray_view(world: World, state: LinkState, now: datetime) -> TrayView:
    """The tray at one moment."""
    running = len(world.running)
    shape, status = _shape_and_status(world, state, running)
    return TrayView(
        shape=shape,
        status=status,
        running=words.counted(running, "run") + " in work" if running else "",
        schedule=_schedule(world, now) if state is LinkState.CONNECTED else "",
        can_switch=state is LinkState.CONNECTED and bool(world.agents or world.agents_stopped),
        stopped=world.agents_stopped is not None,
    )


def _schedule(world: World, now: datetime) -> str:
    status = world.status
    if status is None:
        return ""
    scheduler, parts = status.scheduler, []
    if scheduler.last_tick is not None:
        parts.append(f"last tick {words.clock_time(scheduler.last_tick, now)}")
    if scheduler.next_due is not None:
        parts.append(f"next due {words.due_time(scheduler.next_due, now)}")
    held = scheduler.trouble or status.governor.reason
    if held:
        parts.append(words.one_line(held, 120))
    line = ", ".join(parts)
    return line[:1].upper() + line[1:]


def _shape_and_status(world: World, state: LinkState, running: int) -> tuple[TrayShape, str]:
    match state:
        case LinkState.FAILED | LinkState.NEEDS_KEY:
            return TrayShape.PROBLEM, "needs your attention"
        case LinkState.STOPPED:
            return TrayShape.PAUSED, "stopped"
        case LinkState.RECONNECTING:
            return TrayShape.PROBLEM, "reconnecting…"
        case LinkState.CONNECTED:
            pass
        case _:
            return TrayShape.IDLE, "starting…"
    if world.problem is not None:
        return TrayShape.PROBLEM, words.one_line(world.problem, 120)
    if world.agents_stopped:
        return TrayShape.PAUSED, "all agents are stopped"
    if running:
        names = ", ".join(words.run_subject(run) for run in world.running[:2])
        return TrayShape.WORKING, words.one_line(f"working on {names}", 120)
    if world.all_paused:
        return TrayShape.PAUSED, "agents are paused"
    waiting = world.waiting_count
    if waiting and world.status is not None and world.status.governor.action == "pause":
        return TrayShape.PAUSED, f"{words.counted(waiting, 'run')} waiting"
    return TrayShape.IDLE, f"{words.counted(waiting, 'file')} waiting" if waiting else "idle"
