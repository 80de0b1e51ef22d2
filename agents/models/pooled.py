"""An engine of the pool: it is loaded when it is used, stays while it is used, and may be unloaded in between.

Runs in: the runtime's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from engine.core import Embeddings, Finished, Priority, Request, StreamEvent
from engine.errors import EngineStopped
from engine.model import PowerLimits
from engine.status import EngineCounters, EngineState, EngineStatus
from engine.supervisor import Engine


class PooledEngine:
    """The engine itself, and how much it is in use. `make_room` is awaited before it is loaded.

    Everything that needs the model goes through `_held`: while that is open nobody unloads it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        size_bytes: int,
        make_room: Callable[[PooledEngine], Awaitable[None]],
        monotonic: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._size_bytes = size_bytes  # a guess, until it is loaded
        self._make_room = make_room
        self._monotonic = monotonic
        self._users = 0
        self._used_at = monotonic()
        self._closed = False
        self._gate = (
            asyncio.Lock()
        )  # held while it is loaded or unloaded; contended only by users who wait for that
        self.reload_s = 0.0  # what the last load took

    @property
    def is_loaded(self) -> bool:
        """Whether it takes memory, or is about to."""
        return self._users > 0 or self._engine.status.state not in (
            EngineState.STOPPED,
            EngineState.SET_ASIDE,
        )

    @property
    def in_use(self) -> bool:
        """Whether somebody would miss it this moment."""
        return self._users > 0

    @property
    def idle_s(self) -> float:
        """How long nobody has used it."""
        return 0.0 if self._users else self._monotonic() - self._used_at

    @property
    def memory_bytes(self) -> int:
        """What it takes, or what it will take as far as one can guess."""
        return self._engine.status.memory_bytes or self._size_bytes

    async def unload(self) -> bool:
        """Give its memory back; the next use loads it again. False when it is in use."""
        if self._users:
            return False
        async with self._gate:  # who comes now waits, and loads it again
            await self._engine.stop()
        return True

    async def close(self, timeout_s: float) -> None:
        """End it for good; later uses fail with EngineStopped."""
        self._closed = True
        await self._engine.stop(timeout_s)

    # -- what an engine offers ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Load it and return when it is ready."""
        async with self._held():
            pass

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; the next use starts it again."""
        await self._engine.stop(timeout_s)

    async def retry_model(self) -> None:
        """Forget the deaths of a model that was set aside, and start again."""
        await self._engine.retry_model()

    async def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """Serve one request; closing the generator or cancelling the task aborts it."""
        finished: Finished | None = None
        async with self._held():
            events = self._engine.stream(request)
            try:
                async for event in events:
                    if isinstance(event, Finished):
                        finished = event
                    else:
                        yield event
            finally:
                if isinstance(events, AsyncGenerator):
                    await events.aclose()
        if finished is not None:  # told only now: a caller who stops listening at the end holds nothing
            yield finished

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model."""
        async with self._held():
            return await self._engine.count_tokens(texts)

    async def count_prompt(self, request: Request) -> int:
        """How many tokens the request's prompt has, as its answer's usage would say."""
        async with self._held():
            return await self._engine.count_prompt(request)

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        """The texts as vectors; only for an embedding model."""
        async with self._held():
            return await self._engine.embed(texts, priority=priority)

    async def forget_prefix(self, name: str) -> None:
        """Drop a pinned prefix wherever it is kept; the model is not loaded for that."""
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

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """Loaded, and not to be unloaded."""
        self._users += 1
        try:
            async with self._gate:
                if self._closed:
                    raise EngineStopped("The engine is stopped; start Hearth again first.")
                if self._engine.status.state is EngineState.STOPPED:
                    await self._load()
            yield
        finally:
            self._users -= 1
            self._used_at = self._monotonic()

    async def _load(self) -> None:
        await self._make_room(self)
        if self._closed:
            raise EngineStopped("The engine was stopped while it started; start Hearth again.")
        began_at = self._monotonic()
        await self._engine.start()
        self.reload_s = self._monotonic() - began_at
