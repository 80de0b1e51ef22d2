"""What a run's work may do: begin and end steps that are on disk at once, ask the model, and change something outside once.

Runs in: the runtime's event loop. A step that already has a stored output is not executed again: that is how a run goes on after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from agents import contract, views
from agents.core import Run, Step, StepKind, StepStatus, StepUsage
from agents.errors import HearthError
from agents.events import EventBus
from agents.runs.asking import Asker
from agents.runs.budget import Amount
from agents.runs.effects import Change, EffectStore, make_once
from agents.runs.prefixes import Fixed
from agents.runs.replaying import brought_by
from agents.runs.spending import Purse
from agents.runs.work_time import WorkTime
from engine.core import Finished, FinishReason, JsonSchema, Message, SamplingParams
from engine.errors import EngineError
from engine.supervisor import Engine

INTERNAL_ERROR = "An internal error ended this step; the log names the place in the code."
REPLAYED = "Taken over from the run that is replayed."
LOCAL = "local"  # the route of a step whose model ran on this computer
_LOADING = "the model is loaded"
NOT_REPLAYED = "Not done again: this is a replay."


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What a step leaves: a JSON value for later attempts, a line for the user, and its cost."""

    output: Any = field(repr=False)
    detail: str | None = None
    usage: StepUsage = field(default_factory=StepUsage)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Text that the model wrote."""

    text: str = field(repr=False)
    was_cut: bool  # it came to the end of its room
    usage: StepUsage


class StepStore(EffectStore, Protocol):
    """The part of the run store that steps need."""

    async def begin_step(self, run_id: int, *, key: str, kind: StepKind, title: str) -> Step: ...
    async def finish_step(
        self, step_id: int, *, output: Any, detail: str | None, usage: StepUsage, route: str | None = None
    ) -> Step: ...
    async def fail_step(self, step_id: int, *, status: StepStatus, error: str) -> Step: ...
    async def occurrence_files(self, occurrence_id: int) -> list[tuple[Path, str, int]]: ...


class RunContext:
    """One run in work."""

    def __init__(
        self,
        *,
        run: Run,
        store: StepStore,
        engine: Engine,
        bus: EventBus,
        granted: tuple[Path, ...],
        now: datetime,
        asker: Asker,
        purse: Purse,
        work_time: WorkTime,
        recorded: Mapping[str, Step],
        at: Callable[[str], None],
    ) -> None:
        """`recorded` are the finished steps of the run that this one replays; `at` is told each boundary of a step."""
        self.run = run
        self.engine = engine
        self.granted = granted  # the folders that the agent may read now, whatever its revision says
        self.now = now  # when this attempt began
        self._store = store
        self._bus = bus
        self._asker = asker
        self._purse = purse
        self._work_time = work_time
        self._recorded = recorded
        self._at = at

    @property
    def brought(self) -> Any:
        """What the trigger brought, as a JSON value."""
        return brought_by(self.run)

    async def files(self) -> list[tuple[Path, str, int]]:
        """Path, hash and size in bytes of the files that this run stands for, where it stands for many."""
        return await self._store.occurrence_files(self.run.occurrence_id)

    async def load_model(self) -> None:
        """Returns when the model is ready; loading it is no work of the run's. Raises EngineError when it can't be."""
        self._work_time.hold(_LOADING)
        try:
            await self.engine.start()
        finally:
            self._work_time.release(_LOADING)

    async def step(
        self, *, key: str, kind: StepKind, title: str, work: Callable[[Step], Awaitable[StepOutcome]]
    ) -> Any:
        """The output of step `key`: the stored one, or that of `work`, which is stored before this returns."""
        step = await self._store.begin_step(self.run.id, key=key, kind=kind, title=title)
        if step.status is StepStatus.SUCCEEDED:
            return step.output
        self._publish(step)
        self._at("step begun")
        outcome = self._replayed(step) or await self._worked(step, work)
        self._at("step worked")
        step = await self._store.finish_step(
            step.id,
            output=outcome.output,
            detail=outcome.detail,
            usage=outcome.usage,
            route=LOCAL if outcome.usage.prompt_tokens else None,
        )
        self._at("step saved")
        self._publish(step)
        return step.output

    async def change(
        self, *, key: str, title: str, request: Any, change: Change, detail: str | None = None
    ) -> Any:
        """Makes one change outside of Hearth, once for the run however often it is attempted; its outcome.

        In a replay nothing is changed, and the outcome is None.
        """

        async def work(_: Step) -> StepOutcome:
            async with self._purse.reserved(Amount(tool_calls=1)) as spent:
                outcome = await make_once(
                    self._store, self.run.id, key=key, request=request, change=change, at=self._at
                )
                spent.amount = Amount(tool_calls=1)
            return StepOutcome(output=outcome, detail=detail)

        return await self.step(key=key, kind=StepKind.EFFECT, title=title, work=work)

    async def ask(
        self,
        *,
        step: Step,
        messages: tuple[Message, ...],
        schema: Mapping[str, Any],
        max_tokens: int,
        fixed: Fixed | None = None,
    ) -> tuple[Any, StepUsage]:
        """Asks the model for JSON under `schema`, greedily; returns the parsed value and what it cost.

        What is `fixed` of the messages is computed once and kept, also over a restart.

        Raises EngineError when the model can't answer, also when the answer did not fit `max_tokens`.
        """
        sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0)
        finished, usage = await self._asker.ask(
            step, messages=messages, sampling=sampling, constraint=JsonSchema(schema=schema), fixed=fixed
        )
        if not _is_whole(finished):
            raise EngineError(
                "The model's answer was cut before it was complete; ask for less in the agent's instructions, "
                "or choose another model."
            )
        return json.loads(finished.text), usage

    async def ask_text(
        self,
        *,
        step: Step,
        messages: tuple[Message, ...],
        sampling: SamplingParams,
        fixed: Fixed | None = None,
    ) -> Answer:
        """Asks the model for plain text. Raises EngineError when it can't answer."""
        finished, usage = await self._asker.ask(
            step, messages=messages, sampling=sampling, constraint=None, fixed=fixed
        )
        return Answer(text=finished.text, was_cut=not _is_whole(finished), usage=usage)

    def _replayed(self, step: Step) -> StepOutcome | None:
        """What a replay takes over; None where the step is executed."""
        if not self.run.replay_of or step.kind is StepKind.MODEL:
            return None
        earlier = self._recorded.get(step.key)
        if earlier is not None:
            return StepOutcome(output=earlier.output, detail=earlier.detail or REPLAYED)
        return StepOutcome(output=None, detail=NOT_REPLAYED) if step.kind is StepKind.EFFECT else None

    async def _worked(self, step: Step, work: Callable[[Step], Awaitable[StepOutcome]]) -> StepOutcome:
        self._work_time.begin_step(step.title)
        try:
            return await work(step)
        except (HearthError, EngineError) as error:
            await self._fail(step, str(error))
            raise
        except Exception:
            await self._fail(step, INTERNAL_ERROR)
            raise
        finally:
            self._work_time.end_step()

    async def _fail(self, step: Step, error: str) -> None:
        self._publish(await self._store.fail_step(step.id, status=StepStatus.FAILED, error=error))

    def _publish(self, step: Step) -> None:
        self._bus.publish(contract.StepChanged(run_id=self.run.id, step=views.step_info(step)))


def _is_whole(finished: Finished) -> bool:
    """Whether the model ended its answer itself; every other end cut it."""
    return finished.finish_reason is FinishReason.STOP
