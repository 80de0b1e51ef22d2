"""The engine as the runtime sees it: one child process, kept alive.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from engine.core import EngineStatus, Request, StreamEvent


class Engine(Protocol):
    """What the runtime may ask of an engine; EngineSupervisor and fakes.ScriptedEngine offer it."""

    async def start(self) -> None:
        """Start and return when ready; idempotent. Raises ModelMissing, ModelInvalid or ModelSetAside."""

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; waiting requests fail with EngineStopped. Idempotent."""

    async def retry_model(self) -> None:
        """Forget the deaths of a model that was set aside, and start again."""

    def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """Serve one request; closing the generator or cancelling the task aborts it."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model."""
        ...

    @property
    def status(self) -> EngineStatus:
        """The state as a snapshot."""
        ...

    def subscribe(self, callback: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Call back with each new status; returns the way to end that."""
        ...
