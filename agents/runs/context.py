"""What a run's work may do: begin and end steps that are on disk at once, and ask the model.

Runs in: the runtime's event loop. A step that already has a stored output is not executed again: that is how a run goes on after a crash.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agents import contract, views
from agents.core import Run, Step, StepKind, StepStatus, StepUsage
from agents.errors import HearthError
from agents.events import EventBus
from agents.models.usage import step_usage
from agents.runs.prefixes import Fixed, prefix_name
from engine.core import (
    Delta,
    Finished,
    FinishReason,
    JsonSchema,
    Message,
    PinnedPrefix,
    Prefill,
    Priority,
    Request,
    Restarted,
    SamplingParams,
)
from engine.errors import EngineError, EngineStopped
from engine.supervisor import Engine

PROGRESS_INTERVAL_S = 0.25
ENGINE_CAME_BACK = "The engine ended unexpectedly and was started again; the step in work is repeated."
INTERNAL_ERROR = "An internal error ended this step; the log names the place in the code."


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What a step leaves: a JSON value for later attempts, a line for the user, and its cost."""

    output: Any = field(repr=False)
    detail: str | None = None
    usage: StepUsage = field(default_factory=StepUsage)


class StepStore(Protocol):
    """The part of the run store that steps need."""

    async def begin_step(self, run_id: int, *, key: str, kind: StepKind, title: str) -> Step: ...
    async def finish_step(
        self, step_id: int, *, output: Any, detail: str | None, usage: StepUsage
    ) -> Step: ...
    async def fail_step(self, step_id: int, *, status: StepStatus, error: str) -> Step: ...


class RunContext:
    """One run in work."""

    def __init__(
        self, *, run: Run, store: StepStore, engine: Engine, bus: EventBus, granted: tuple[Path, ...]
    ) -> None:
        self.run = run
        self.engine = engine
        self.granted = granted  # the folders that the agent may read now, whatever its revision says
        self._store = store
        self._bus = bus

    async def step(
        self, *, key: str, kind: StepKind, title: str, work: Callable[[Step], Awaitable[StepOutcome]]
    ) -> Any:
        """The output of step `key`: the stored one, or that of `work`, which is stored before this returns."""
        step = await self._store.begin_step(self.run.id, key=key, kind=kind, title=title)
        if step.status is StepStatus.SUCCEEDED:
            return step.output
        self._publish(step)
        try:
            outcome = await work(step)
        except (HearthError, EngineError) as error:
            await self._fail(step, str(error))
            raise
        except Exception:
            await self._fail(step, INTERNAL_ERROR)
            raise
        step = await self._store.finish_step(
            step.id, output=outcome.output, detail=outcome.detail, usage=outcome.usage
        )
        self._publish(step)
        return step.output

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
        request = Request(
            id=f"run-{self.run.id}-{step.seq}-{uuid.uuid4().hex[:8]}",
            messages=messages,
            sampling=SamplingParams(max_tokens=max_tokens, temperature=0.0),
            constraint=JsonSchema(schema=schema),
            priority=Priority.BACKGROUND,
            prefix=None if fixed is None else self._prefix(fixed),
        )
        finished = await self._follow(step, request)
        if finished.finish_reason is not FinishReason.STOP:
            raise EngineError("The model's answer was cut before it was complete; run the document again.")
        return json.loads(finished.text), step_usage(finished.usage)

    def _prefix(self, fixed: Fixed) -> PinnedPrefix:
        return PinnedPrefix(name=prefix_name(self.run.agent_id, fixed.prompt), n_messages=fixed.n_messages)

    async def _follow(self, step: Step, request: Request) -> Finished:
        progress = _Progress(self._bus, self.run.id, step.seq)
        finished: Finished | None = None
        async for event in self.engine.stream(request):
            match event:
                case Prefill():
                    progress.read(event.done_tokens, event.total_tokens)
                case Delta():
                    progress.wrote(event.tokens)
                case Restarted():
                    progress = _Progress(self._bus, self.run.id, step.seq)
                    self._bus.publish(contract.Notice(level=contract.NoticeLevel.INFO, text=ENGINE_CAME_BACK))
                case Finished():
                    finished = event
        if finished is None:
            raise EngineStopped("The engine was stopped before the answer was complete.")
        return finished

    async def _fail(self, step: Step, error: str) -> None:
        self._publish(await self._store.fail_step(step.id, status=StepStatus.FAILED, error=error))

    def _publish(self, step: Step) -> None:
        self._bus.publish(contract.StepChanged(run_id=self.run.id, step=views.step_info(step)))


class _Progress:
    """Counts a stream's tokens and tells about them a few times a second."""

    def __init__(self, bus: EventBus, run_id: int, seq: int) -> None:
        self._bus = bus
        self._run_id = run_id
        self._seq = seq
        self._prompt = (0, 0)
        self._completion = 0
        self._first_token_at: float | None = None
        self._told_at = 0.0

    def read(self, done_tokens: int, total_tokens: int) -> None:
        self._prompt = (done_tokens, total_tokens)
        self._tell()

    def wrote(self, tokens: int) -> None:
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()
        self._completion += tokens
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_INTERVAL_S:
            return
        self._told_at = now
        elapsed_s = now - self._first_token_at if self._first_token_at is not None else 0.0
        self._bus.publish(
            contract.RunProgress(
                run_id=self._run_id,
                seq=self._seq,
                done_prompt_tokens=self._prompt[0],
                total_prompt_tokens=self._prompt[1],
                completion_tokens=self._completion,
                tokens_per_s=round(self._completion / elapsed_s, 1) if elapsed_s > 0.2 else None,
            )
        )
