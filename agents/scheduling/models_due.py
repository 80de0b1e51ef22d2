"""When the armed due times need each model; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from agents.core import Agent, Occurrence


def models_due(
    armed: Iterable[Occurrence], agents: Mapping[int, Agent], *, now: datetime
) -> dict[str, float]:
    """Seconds until each model is needed next, by its name in agent files; 0 for what is late."""
    due: dict[str, float] = {}
    for row in armed:
        agent = agents.get(row.agent_id)
        if agent is not None and row.held_until is None:  # what waits needs no model yet
            model = agent.definition.model
            in_s = max(0.0, (row.due_at - now).total_seconds())
            due[model] = min(in_s, due.get(model, in_s))
    return due
