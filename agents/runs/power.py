"""What the surroundings allow each run: whether it may go on, and how it asks the engine. Pure."""

from __future__ import annotations

from collections.abc import Callable

from agents.core import AgentDefinition, Run
from agents.policies import PowerClass
from agents.triggers import TriggerKind
from engine.core import Priority

WhyPaused = Callable[[PowerClass], str | None]
"""Why work of a power class must not go on now, in one sentence; None while it may."""


class Power:
    """The surroundings' word, with the exception of runs that somebody asks for: for those they have a word of its own."""

    def __init__(
        self,
        why_paused: WhyPaused,
        why_paused_by_hand: WhyPaused | None = None,
        is_throttled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._why_paused = why_paused
        self._why_paused_by_hand = why_paused_by_hand or why_paused
        self._is_throttled = is_throttled

    @property
    def is_throttled(self) -> bool:
        """Whether background work is to go on with less: then one run after another."""
        return self._is_throttled()

    def why_waits(self, run: Run, definition: AgentDefinition) -> str | None:
        """Why this run must not go on now."""
        ask = self._why_paused_by_hand if is_by_hand(run) else self._why_paused
        return ask(definition.policy.power)

    @property
    def engines_hold(self) -> bool:
        """Whether the engines hold all background work where it is."""
        return self._why_paused(PowerClass.ANY) is not None

    def priority(self, run: Run) -> Priority:
        """A run that somebody waits for goes on where the engines hold background work."""
        return Priority.NORMAL if is_by_hand(run) and self.engines_hold else Priority.BACKGROUND


def is_by_hand(run: Run) -> bool:
    return run.trigger is TriggerKind.MANUAL
