"""Everything that makes due times happen, put together: the scheduler, what decides on each due time, and the watchdog.

Runs in: the runtime's event loop; the watchdog has a thread of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import tzinfo
from pathlib import Path

from agents import contract, views
from agents.clock import Clock
from agents.core import Agent, FileState, NewOccurrence, Occurrence, Owner, Run
from agents.errors import StoreProblem
from agents.events import EventBus
from agents.policies import Budget
from agents.runs.manager import RunManager
from agents.scheduling.alarm import Alarm
from agents.scheduling.deciding import Decider
from agents.scheduling.models_due import models_due
from agents.scheduling.ports import Gates
from agents.scheduling.service import Scheduler
from agents.scheduling.watchdog import IncidentKind, Watchdog
from agents.storage import Store

log = logging.getLogger(__name__)


class RunHouse:
    """What holds for all agents together, as the run manager knows it."""

    def __init__(self, runs: RunManager) -> None:
        self._runs = runs

    async def stopped(self) -> str | None:
        stopped = self._runs.switch.stopped
        return None if stopped is None else stopped.reason

    async def budget(self) -> Budget:
        return await self._runs.house_budget.budget()

    async def replace(self, agent_id: int) -> None:
        await self._runs.replace(agent_id)


class Timetable:
    """`start` it once the run manager works, `stop` it before that stops."""

    def __init__(
        self,
        *,
        store: Store,
        runs: RunManager,
        gates: Gates,
        bus: EventBus,
        clock: Clock,
        alarm: Alarm,
        owner: Owner,
        zone: tzinfo,
        on_change: Callable[[str], Awaitable[None]],
        on_trouble: Callable[[str | None], None],
        on_incident: Callable[[str], None],
    ) -> None:
        """`on_change` is told the name of an agent of which something was decided, `on_incident` a sentence for the user."""
        self._store = store
        self._runs = runs
        self._bus = bus
        self._clock = clock
        self._on_change = on_change
        self._on_incident = on_incident
        self._agents: dict[int, Agent] = {}
        decider = Decider(
            store=store.schedule,
            gates=gates,
            house=RunHouse(runs),
            clock=clock,
            on_admitted=self._admitted,
            on_ended=self._changed,
            on_put_off=self._changed,
        )
        self.scheduler = Scheduler(
            store=store.schedule,
            decider=decider,
            clock=clock,
            alarm=alarm,
            owner=owner,
            on_trouble=on_trouble,
            zone=zone,
        )
        self._watchdog = Watchdog(
            scheduler=self.scheduler,
            count_overdue=store.schedule.overdue,
            clock=clock,
            on_incident=self._record,
        )

    @property
    def agents(self) -> Collection[Agent]:
        """Those that are armed now, paused ones among them."""
        return self._agents.values()

    def start(self, agents: Sequence[Agent]) -> None:
        self._agents = {agent.id: agent for agent in agents}
        self.scheduler.start(agents)
        self._watchdog.start()

    async def stop(self) -> None:
        await self._watchdog.stop()
        await self.scheduler.stop()

    async def set_agents(self, agents: Sequence[Agent]) -> None:
        """Arms them; on return their next due times are on the disk. Raises StoreProblem when those can't be written."""
        self._agents = {agent.id: agent for agent in agents}
        await self.scheduler.set_agents(agents)

    async def models_due(self) -> dict[str, float]:
        """In how many seconds the next armed due time needs each model, by the model's name in agent files."""
        return models_due(await self._store.schedule.armed(), self._agents, now=self._clock.now())

    async def announce_files(
        self,
        new: NewOccurrence,
        states: Sequence[FileState],
        *,
        files: Sequence[tuple[Path, str, int]] = (),
    ) -> bool | None:
        """Has new versions of files looked at before they become a run: True when it is new, None when nothing has to be looked at."""
        agent = self._agents.get(new.agent_id)
        if agent is None or not await self._is_looked_at(agent):
            return None
        return await self.scheduler.announce(new, file_states=states, files=files) is not None

    async def _is_looked_at(self, agent: Agent) -> bool:
        """Whether something is asked before the agent's files become runs."""
        if agent.definition.gates or counts_runs(agent.definition.policy.budget):
            return True
        return counts_runs(await self._runs.house_budget.budget())

    async def _admitted(self, run: Run) -> None:
        self._bus.publish(contract.RunChanged(run=views.run_info(run)))
        self._runs.poke()
        await self._on_change(run.agent_name)

    async def _changed(self, occurrence: Occurrence) -> None:
        self._bus.publish(contract.OccurrenceChanged(occurrence=views.occurrence_info(occurrence)))
        await self._on_change(occurrence.agent_name)

    async def _record(self, kind: IncidentKind, sentence: str) -> None:
        self._on_incident(sentence)
        try:
            await self._store.incidents.add(kind.value, sentence, self._clock.now())
        except StoreProblem as problem:  # it was told, and the log has it
            log.warning("an incident (%s) could not be recorded: %s", kind.value, problem.code)


def counts_runs(budget: Budget) -> bool:
    return budget.runs_per_hour is not None or budget.runs_per_day is not None
