"""What happened waits for hours and power, while a time of a schedule that meets their closed gate is over: the next one comes anyway. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.core import Agent, GateOutcome
from agents.gates.hours import in_words, next_opening
from agents.scheduling.wall_clock import find_zone
from agents.scheduling.words import moment_in_words
from agents.triggers import GateKind, HoursGate, TriggerKind, gate_key

LOOK_AGAIN = timedelta(minutes=5)  # where nothing tells when a gate opens
PATIENT = frozenset({TriggerKind.FILE_CHANGED, TriggerKind.WEBHOOK, TriggerKind.RESULT})
"""What brings something that is not brought again. A start, a wake or an absence is over when it is over."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Until when a due time waits for a gate of that kind, and the sentence that the user reads meanwhile."""

    until: datetime
    gate: GateKind
    reason: str


def wait_for(closed: GateOutcome, agent: Agent, trigger: TriggerKind, *, now: datetime) -> Wait | None:
    """None when the closed gate ends the due time."""
    if trigger not in PATIENT:
        return None
    match closed.gate:
        case GateKind.AC_POWER:
            reason = "Waits until the computer is plugged in."
            return Wait(until=now + LOOK_AGAIN, gate=closed.gate, reason=reason)
        case GateKind.HOURS:
            return _wait_for_hours(closed, agent, now)
        case _:
            return None


def _wait_for_hours(closed: GateOutcome, agent: Agent, now: datetime) -> Wait:
    gates = (gate for gate in agent.definition.gates if isinstance(gate, HoursGate))
    gate = next((gate for gate in gates if gate_key(gate) == closed.key), None)
    opens_at = None if gate is None else next_opening(gate, now)
    if gate is None or opens_at is None:
        reason = f"Waits for its gate: {closed.detail.rstrip('.')}."
        return Wait(until=now + LOOK_AGAIN, gate=closed.gate, reason=reason)
    moment = moment_in_words(opens_at, find_zone(gate.zone))
    return Wait(until=opens_at, gate=closed.gate, reason=f"Waits until {moment}: works {in_words(gate)}.")
