"""What the tray icon says: its shape, its tooltip and the lines of its menu. Pure."""

from __future__ import annotations

from dataclasses import dataclass
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
    can_pause: bool
    paused: bool

    @property
    def tooltip(self) -> str:
        return f"Hearth: {self.status}"


def tray_view(world: World, state: LinkState) -> TrayView:
    """The tray at one moment."""
    running = len(world.running)
    shape, status = _shape_and_status(world, state, running)
    return TrayView(
        shape=shape,
        status=status,
        running=words.counted(running, "run") + " in work" if running else "",
        can_pause=state is LinkState.CONNECTED and bool(world.agents),
        paused=world.all_paused,
    )


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
    if running:
        names = ", ".join(words.run_subject(run) for run in world.running[:2])
        return TrayShape.WORKING, words.one_line(f"working on {names}", 120)
    if world.all_paused:
        return TrayShape.PAUSED, "agents are paused"
    waiting = world.waiting_count
    return TrayShape.IDLE, f"{words.counted(waiting, 'file')} waiting" if waiting else "idle"
