"""Why runs that could begin do not: the stop switch, sleep, power, a model that was set aside."""

from __future__ import annotations

from collections.abc import Mapping

from agents.runs.stop_switch import StopSwitch


class Holding:
    """All reasons that stand now, each a sentence for the user."""

    def __init__(self, switch: StopSwitch) -> None:
        self._switch = switch
        self._parked: str | None = None
        self._without_model: dict[int, str] = {}  # by agent
        self._without_power: dict[int, str] = {}

    @property
    def everything(self) -> str | None:
        """Why no run at all begins."""
        return self._switch.stopped.reason if self._switch.stopped is not None else self._parked

    @property
    def agents(self) -> frozenset[int]:
        """Whose model can't be used."""
        return frozenset(self._without_model)

    def reason(self, agent_id: int) -> str | None:
        """The first one that concerns this agent."""
        return (
            self.everything or self._without_model.get(agent_id) or self._without_power.get(agent_id) or None
        )

    async def write_owed(self) -> None:
        """What could not be written down of the switch. Raises StoreProblem while it can't be."""
        await self._switch.write_owed()

    def park(self, reason: str) -> None:
        self._parked = reason

    def unpark(self) -> None:
        self._parked = None

    def set_aside(self, agent_id: int, reason: str) -> None:
        self._without_model[agent_id] = reason

    def release_models(self) -> None:
        self._without_model.clear()

    def note_power(self, reasons: Mapping[int, str]) -> None:
        """Agents with a run that would begin if its power class let it, and why it does not."""
        self._without_power = dict(reasons)
