"""Executes one run: gives its workflow what it needs, and hands its result over. Runs in: the runtime's event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agents.clock import Clock
from agents.core import AgentDefinition, NewResult, Run, Step, StepStatus
from agents.events import EventBus
from agents.models.energy import EnergyCounter
from agents.models.local import EnginePool
from agents.policies import Budget
from agents.runs.asking import Asker
from agents.runs.budget import Paces, limits_of
from agents.runs.context import RunContext
from agents.runs.execution import Done, Execution
from agents.runs.problems import EffectRefused, Unverified
from agents.runs.replaying import model_of
from agents.runs.result_file import WriteFile, file_request
from agents.runs.spending import Purse
from agents.storage import Store
from engine.core import Priority
from engine.supervisor import Engine

Workflow = Callable[[RunContext, AgentDefinition], Awaitable[NewResult]]


class HouseBudget(Protocol):
    """Where the limits of all agents together come from."""

    async def budget(self) -> Budget: ...


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every run works with."""

    store: Store
    engines: EnginePool
    bus: EventBus
    clock: Clock
    workflow: Workflow
    energy: EnergyCounter
    paces: Paces
    house: HouseBudget
    priority: Callable[[Run], Priority]  # with which a run asks the engine now
    at: Callable[[str], None]  # told each boundary that a crash could fall on


class Executor:
    """Does what one run says, from its first row to its result; its last row is the settler's."""

    def __init__(self, workshop: Workshop, *, on_begun: Callable[[Run], Awaitable[None]]) -> None:
        self._workshop = workshop
        self._on_begun = on_begun

    async def perform(self, execution: Execution) -> Done:
        """The run's result. Raises what its work raises."""
        shop, definition = self._workshop, execution.definition
        engine = shop.engines.engine(model_of(execution.run, definition.model))
        run = await shop.store.runs.begin(
            execution.run.id, owner=execution.owner, model=engine.status.model_name or definition.model
        )
        execution.has_begun = True
        shop.at("run begun")
        await self._on_begun(run)
        context = await self._context(run, execution, engine)
        result = await shop.workflow(context, definition)
        shop.at("run worked")
        try:
            await self._hand_over(context, definition, result)
        except Unverified as doubt:
            return Done(result=result, doubt=str(doubt))
        return Done(result=result)

    async def _context(self, run: Run, execution: Execution, engine: Engine) -> RunContext:
        shop = self._workshop
        agent = await shop.store.agents.by_id(run.agent_id)
        purse = Purse(
            shop.store.budgets,
            run_id=run.id,
            agent_id=run.agent_id,
            # What the agent may use up is its owner's word of today, not that of the revision.
            limits=limits_of(agent.definition.policy.budget, house=await shop.house.budget()),
            today=lambda: shop.clock.now().astimezone().date(),
        )
        asker = Asker(
            run=run,
            engine=engine,
            bus=shop.bus,
            purse=purse,
            paces=shop.paces,
            energy=shop.energy,
            work_time=execution.work_time,
            priority=lambda: shop.priority(run),
        )
        now, recorded = await self._recorded(run)
        return RunContext(
            run=run,
            store=shop.store.runs,
            engine=engine,
            bus=shop.bus,
            granted=agent.definition.read_folders,
            now=now,
            asker=asker,
            purse=purse,
            work_time=execution.work_time,
            recorded=recorded,
            at=shop.at,
        )

    async def _recorded(self, run: Run) -> tuple[datetime, dict[str, Step]]:
        """For a replay the hour and the finished steps of what it replays."""
        now = self._workshop.clock.now()
        if run.replay_of is None:
            return now, {}
        original = await self._workshop.store.runs.get(run.replay_of)
        steps = await self._workshop.store.runs.steps(original.id)
        finished = {step.key: step for step in steps if step.status is StepStatus.SUCCEEDED}
        return original.started_at or now, finished

    async def _hand_over(self, context: RunContext, definition: AgentDefinition, result: NewResult) -> None:
        """Writes the result as a file, if the agent has a folder for it and still has it today."""
        folder = definition.write_folder
        if folder is None:
            return
        today = (await self._workshop.store.agents.by_id(context.run.agent_id)).definition
        if context.run.replay_of is None and today.write_folder != folder:
            raise EffectRefused(
                "The agent may no longer write into the folder that this run was to write to."
            )
        request = file_request(context.run, result, folder=folder, due_local=context.run.due_at.astimezone())
        await context.change(
            key="result-file",
            title="Write the result as a file",
            request=request,
            change=WriteFile(folder),
            detail=request["path"].rsplit("/", 1)[-1],
        )
