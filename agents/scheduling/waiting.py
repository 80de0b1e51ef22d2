"""What keeps a due time from its run: what happened waits until that is over, a time of a schedule ends, as its next one comes anyway. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.core import Agent, GateOutcome, HeldBy
from agents.gates.hours import in_words, next_opening
from agents.scheduling.run_limits import UsedUp
from agents.scheduling.wall_clock import find_zone
from agents.scheduling.words import moment_in_words
from agents.triggers import GateKind, HoursGate, TriggerKind, gate_key

LOOK_AGAIN = timedelta(minutes=5)  # where nothing tells when a gate opens
RARELY = timedelta(hours=6)  # where somebody tells when it is over, and this is only for when that is lost
PATIENT = frozenset({TriggerKind.FILE_CHANGED, TriggerKind.WEBHOOK, TriggerKind.RESULT})
"""What brings something that is not brought again. A start, a wake or an absence is over when it is over."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Until when a due time waits and what for, and the sentence that the user reads meanwhile."""

    until: datetime
    held_by: HeldBy
    reason: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a due time gets no run now: the sentence with which it ends, and how it waits instead if it can."""

    reason: str
    wait: Wait | None = None


def by_switch(reason: str, *, now: datetime) -> Refusal:
    """All agents are stopped."""
    return Refusal(
        reason=reason, wait=Wait(until=now + RARELY, held_by=HeldBy.STOPPED, reason=f"Waits: {reason}")
    )


def by_limit(limit: UsedUp) -> Refusal:
    """There were as many runs as there may be."""
    reason = f"Waits: {limit.reason}"
    return Refusal(
        reason=limit.reason, wait=Wait(until=limit.opens_at, held_by=HeldBy.RUN_LIMIT, reason=reason)
    )


def by_gates(outcomes: Sequence[GateOutcome], agent: Agent, *, now: datetime) -> Refusal | None:
    """None when all of them are open."""
    closed = next((outcome for outcome in outcomes if not outcome.is_open), None)
    if closed is None:
        return None
    reason = f"Its gate was closed: {closed.detail.rstrip('.')}."
    match closed.gate:
        case GateKind.AC_POWER:
            sentence = "Waits until the computer is plugged in."
            wait = Wait(until=now + LOOK_AGAIN, held_by=HeldBy.AC_POWER, reason=sentence)
            return Refusal(reason=reason, wait=wait)
        case GateKind.HOURS:
            return Refusal(reason=reason, wait=_wait_for_hours(closed, agent, now))
        case _:
            return Refusal(reason=reason)


def _wait_for_hours(closed: GateOutcome, agent: Agent, now: datetime) -> Wait:
    gates = (gate for gate in agent.definition.gates if isinstance(gate, HoursGate))
    gate = next((gate for gate in gates if gate_key(gate) == closed.key), None)
    opens_at = None if gate is None else next_opening(gate, now)
    if gate is None or opens_at is None:
        reason = f"Waits for its gate: {closed.detail.rstrip('.')}."
        return Wait(until=now + LOOK_AGAIN, held_by=HeldBy.HOURS, reason=reason)
    moment = moment_in_words(opens_at, find_zone(gate.zone))
    return Wait(until=opens_at, held_by=HeldBy.HOURS, reason=f"Waits until {moment}: works {in_words(gate)}.")
