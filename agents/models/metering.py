"""Measures what callers of an engine wait for, in one place around its streams, whoever asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Protocol

from agents.clock import Clock
from engine.core import Delta, Embeddings, Finished, Priority, Request, Restarted, StreamEvent, ToolCalled
from engine.errors import EngineError
from engine.model import PowerLimits
from engine.status import EngineCounters, EngineStatus
from engine.supervisor import Engine


class StreamMeter(Protocol):
    """Takes the measurements; `model` is a model's name."""

    def first_token(self, model: str, priority: Priority, wait_s: float) -> None:
        """So long after it was asked, an answer began."""

    def token_time(self, model: str, priority: Priority, per_token_s: float) -> None:
        """So much time passed from token to token, on the average of one answer after its first token."""

    def ended(self, model: str, priority: Priority, outcome: str) -> None:
        """An answer ended: a finish reason, an error's code, or "cancelled"."""


class MeteredEngine:
    """An engine whose streams are measured; everything else is the engine's own."""

    def __init__(self, engine: Engine, *, model: str, meter: StreamMeter, clock: Clock) -> None:
        self._engine = engine
        self._model = model
        self._meter = meter
        self._clock = clock

    async def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """Serve one request; closing the generator or cancelling the task aborts it."""
        asked_at = self._clock.monotonic()
        first_at: float | None = None
        first_tokens = 0
        outcome = "cancelled"
        events = self._engine.stream(request)
        try:
            async for event in events:
                match event:
                    case Delta() | ToolCalled() if first_at is None:
                        first_at = self._clock.monotonic()
                        first_tokens = event.tokens if isinstance(event, Delta) else 0
                        self._meter.first_token(self._model, request.priority, first_at - asked_at)
                    case Restarted():
                        first_at = None
                    case Finished():
                        outcome = event.finish_reason.value
                        later = event.usage.completion_tokens - first_tokens
                        if first_at is not None and first_tokens and later > 0:
                            passed_s = self._clock.monotonic() - first_at
                            self._meter.token_time(self._model, request.priority, passed_s / later)
                yield event
        except EngineError as error:
            outcome = error.code
            raise
        finally:
            self._meter.ended(self._model, request.priority, outcome)
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def start(self) -> None:
        """Start and return when ready; idempotent."""
        await self._engine.start()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; waiting requests fail with EngineStopped."""
        await self._engine.stop(timeout_s)

    async def retry_model(self) -> None:
        """Forget the deaths of a model that was set aside, and start again."""
        await self._engine.retry_model()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model."""
        return await self._engine.count_tokens(texts)

    async def count_prompt(self, request: Request) -> int:
        """How many tokens the request's prompt has, as its answer's usage would say."""
        return await self._engine.count_prompt(request)

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        """The texts as vectors; only for an embedding model."""
        return await self._engine.embed(texts, priority=priority)

    async def forget_prefix(self, name: str) -> None:
        """Drop a pinned prefix wherever it is kept."""
        await self._engine.forget_prefix(name)

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from now on."""
        self._engine.set_limits(limits)

    @property
    def counters(self) -> EngineCounters:
        """What all children counted; the gauges are 0 while none lives."""
        return self._engine.counters

    @property
    def status(self) -> EngineStatus:
        """The state as a snapshot."""
        return self._engine.status

    def subscribe(self, callback: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Call back with each new status; returns the way to end that."""
        return self._engine.subscribe(callback)
