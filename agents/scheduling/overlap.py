"""What becomes of a due time whose agent still has runs that have not ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from agents.policies import Overlap, OverlapPolicy
from agents.triggers import TriggerKind


@dataclass(frozen=True)
class Start:
    """Its run may begin at once."""


@dataclass(frozen=True)
class Wait:
    """Its run gets a row, and begins when another one has ended."""


@dataclass(frozen=True)
class Skip:
    """It gets no run; `reason` is a sentence for the user."""

    reason: str


@dataclass(frozen=True)
class Replace:
    """Runs that have not ended are cancelled, and its own takes their place."""


OverlapDecision = Start | Wait | Skip | Replace


def decide(overlap: Overlap, *, unfinished: int, trigger: TriggerKind | None = None) -> OverlapDecision:
    """`unfinished` counts the agent's runs that wait or are in work. Files are each their own work: they always queue."""
    if unfinished <= 0:
        return Start()
    if trigger is TriggerKind.FILE_CHANGED:
        return Wait()
    match overlap.policy:
        case OverlapPolicy.SKIP:
            return Skip("The run before it had not ended, and this agent leaves out what would overlap.")
        case OverlapPolicy.QUEUE:
            return Wait()
        case OverlapPolicy.REPLACE:
            return Replace()
        case OverlapPolicy.PARALLEL:
            return Start() if unfinished < overlap.at_most else Wait()
        case _:
            assert_never(overlap.policy)
