"""One question of a run to the model: reserved, asked, followed, measured, settled. Runs in: the runtime's event loop."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

from agents import contract
from agents.core import Run, Step, StepUsage
from agents.events import EventBus
from agents.models.energy import EnergyCounter, EnergyReading
from agents.models.usage import step_usage
from agents.runs.budget import Amount, Paces
from agents.runs.prefixes import Fixed, prefix_name
from agents.runs.progress import Progress
from agents.runs.spending import Purse, Spent
from agents.runs.work_time import WorkTime
from engine.core import (
    Constraint,
    Delta,
    Finished,
    Message,
    PinnedPrefix,
    Prefill,
    Priority,
    Request,
    Restarted,
    SamplingParams,
)
from engine.errors import EngineStopped
from engine.supervisor import Engine

ENGINE_CAME_BACK = "The engine ended unexpectedly and was started again; the step in work is repeated."
_QUEUED = "waits in the engine's line"
_JOULES_PER_WH = 3600.0


class Asker:
    """Asks one run's questions."""

    def __init__(
        self,
        *,
        run: Run,
        engine: Engine,
        bus: EventBus,
        purse: Purse,
        paces: Paces,
        energy: EnergyCounter,
        work_time: WorkTime,
        priority: Callable[[], Priority],
    ) -> None:
        self._run = run
        self._engine = engine
        self._bus = bus
        self._purse = purse
        self._paces = paces
        self._energy = energy
        self._work_time = work_time
        self._priority = priority

    async def ask(
        self,
        step: Step,
        *,
        messages: tuple[Message, ...],
        sampling: SamplingParams,
        constraint: Constraint | None,
        fixed: Fixed | None,
    ) -> tuple[Finished, StepUsage]:
        """The whole answer and what it cost. Raises EngineError, or BudgetSpent before a token is computed."""
        request = Request(
            id=f"run-{self._run.id}-{step.seq}-{uuid.uuid4().hex[:8]}",
            messages=messages,
            sampling=sampling,
            constraint=constraint,
            priority=self._priority(),
            prefix=None if fixed is None else self._prefix(fixed),
        )
        model = self._engine.status.model_name or ""
        prompt_tokens = await self._engine.count_prompt(request)
        most = self._paces.most(model, prompt_tokens=prompt_tokens, max_tokens=sampling.max_tokens)
        async with self._purse.reserved(most) as spent:
            before = await self._energy.read()
            finished = await self._follow(step, request, spent)
            usage = await self._usage_of(finished, before)
            spent.amount = Amount(
                tokens=usage.prompt_tokens + usage.completion_tokens,
                seconds=usage.prefill_s + usage.decode_s,
                wh=(usage.energy_j or 0.0) / _JOULES_PER_WH,
                usd=usage.cost_usd,
            )
        self._paces.saw(
            model,
            prompt_tokens=usage.prompt_tokens,
            prefill_s=usage.prefill_s,
            completion_tokens=usage.completion_tokens,
            decode_s=usage.decode_s,
        )
        return finished, usage

    async def _usage_of(self, finished: Finished, before: EnergyReading | None) -> StepUsage:
        return replace(step_usage(finished.usage), energy_j=await self._energy.since(before))

    def _prefix(self, fixed: Fixed) -> PinnedPrefix:
        return PinnedPrefix(name=prefix_name(self._run.agent_id, fixed.prompt), n_messages=fixed.n_messages)

    async def _follow(self, step: Step, request: Request, spent: Spent) -> Finished:
        """Until its first sign of life a request waits for the machine, which is no work of the run's."""
        progress = Progress(self._bus, self._run.id, step.seq)
        finished: Finished | None = None
        self._work_time.hold(_QUEUED)
        before_s = self._work_time.worked_s
        try:
            async for event in self._engine.stream(request):
                self._work_time.release(_QUEUED)
                match event:
                    case Prefill():
                        progress.read(event.done_tokens, event.total_tokens)
                    case Delta():
                        progress.wrote(event.tokens)
                    case Restarted():
                        progress = Progress(self._bus, self._run.id, step.seq)
                        self._tell_of_return()
                    case Finished():
                        finished = event
                # What a cancelled question has used counts too.
                spent.amount = Amount(
                    tokens=progress.prompt_tokens + progress.completion_tokens,
                    seconds=self._work_time.worked_s - before_s,
                )
        finally:
            self._work_time.release(_QUEUED)
        if finished is None:
            raise EngineStopped("The engine was stopped before the answer was complete.")
        return finished

    def _tell_of_return(self) -> None:
        self._bus.publish(contract.Notice(level=contract.NoticeLevel.INFO, text=ENGINE_CAME_BACK))
