"""The gates of a home whose agents have none: what is measured is the schedule."""

from __future__ import annotations

from collections.abc import Mapping

from agents.core import Agent, GateOutcome


class NoGates:
    """Lets everything through."""

    async def check(self, agent: Agent, states: Mapping[str, str]) -> list[GateOutcome]:
        return []
