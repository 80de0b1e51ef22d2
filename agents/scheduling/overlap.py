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


# What comes again by itself, and so is no loss: left to wait it would pile up on a machine that is too slow for it.
_COMES_AGAIN = frozenset(
    {TriggerKind.CRON, TriggerKind.INTERVAL, TriggerKind.START, TriggerKind.WAKE, TriggerKind.IDLE}
)


def decide(
    overlap: Overlap, *, unfinished: int, trigger: TriggerKind | None = None, is_wanted_late: bool = False
) -> OverlapDecision:
    """`unfinished` counts the agent's runs that wait or are in work. Files are each their own work: they always queue.

    `is_wanted_late` is one of several missed times that the agent asked to catch up on, each by a run of its own.
    """
    if unfinished <= 0:
        return Start()
    if trigger is TriggerKind.FILE_CHANGED:
        return Wait()
    match overlap.policy:
        case OverlapPolicy.AUTO:
            if trigger not in _COMES_AGAIN or is_wanted_late:
                return Wait()
            return Skip(
                "The run before it had not ended; with 'overlap: {policy: queue}' it would have waited."
            )
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
