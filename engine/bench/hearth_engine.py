"""Hearth's engine as a contender: a child held by EngineSupervisor, as the runtime holds it.

Runs in: the benchmark's process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from engine.bench.core import Answer, BenchFailed
from engine.core import Delta, Finished, FinishReason, Request, StreamEvent
from engine.errors import EngineError
from engine.model import CacheSpec, ModelSpec
from engine.status import EngineCounters, EngineState
from engine.supervisor import EngineSupervisor

SETTLE_TIMEOUT_S = 60.0
_POLL_S = 0.01


class HearthEngine:
    """One model in one child; what it remembers on disk lies in `folder`, encrypted as in a home."""

    name = "hearth"
    concurrent = True

    def __init__(self, *, model: ModelSpec, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self._cache = CacheSpec(folder=folder / "prefixes", key=secrets.token_hex(32))
        self._engine: EngineSupervisor | None = None
        self._speculates = False

    @property
    def counters(self) -> EngineCounters:
        return self._running.counters

    @property
    def n_ctx(self) -> int | None:
        """Tokens that all requests share, as the loaded model has it."""
        return self._running.status.n_ctx

    async def open(self, *, n_parallel: int) -> None:
        """The child has slots for every load of the benchmark, so it stays the same one; it does not guess ahead."""
        if self._engine is None or self._speculates:
            await self.reopen()

    async def reopen(self, *, speculate: bool = False) -> None:
        await self.close()
        self._speculates = speculate
        self._engine = _supervisor(replace(self._model, speculate=speculate), self._folder, self._cache)
        with _in_a_sentence():
            await self._engine.start()

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.stop()

    async def answer(self, request: Request) -> Answer:
        started = time.perf_counter()
        async with self._events(request) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return Answer(
                        text=event.text,
                        tokens=event.usage.completion_tokens,
                        wall_s=time.perf_counter() - started,
                        cut=event.finish_reason is FinishReason.LENGTH,
                    )
        raise BenchFailed("Hearth's engine ended a stream without a last event.")

    async def first_token_s(self, request: Request) -> float:
        started = time.perf_counter()
        async with self._events(request) as events:
            async for event in events:
                if isinstance(event, Delta) and event.text:
                    return time.perf_counter() - started
        raise BenchFailed("Hearth's engine ended an answer before its first text.")

    async def gaps_s(self, request: Request) -> list[float]:
        async with self._events(request) as events:
            moments = [time.perf_counter() async for event in events if isinstance(event, Delta)]
        return [later - earlier for earlier, later in pairwise(moments)]

    async def settle(self) -> None:
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while (status := self._running.status).running or status.waiting or status.state is EngineState.BUSY:
            if time.monotonic() > deadline:
                raise BenchFailed("Hearth's engine did not come to rest after a measurement.")
            await asyncio.sleep(_POLL_S)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        with _in_a_sentence():
            return await self._running.count_tokens(texts)

    @property
    def _running(self) -> EngineSupervisor:
        if self._engine is None:
            raise BenchFailed("Hearth's engine was asked before it was opened.")
        return self._engine

    @asynccontextmanager
    async def _events(self, request: Request) -> AsyncIterator[AsyncIterator[StreamEvent]]:
        events = self._running.stream(request)
        assert isinstance(events, AsyncGenerator)
        with _in_a_sentence():
            async with aclosing(events):
                yield events


class HearthEmbedder:
    """The embedding model in a child of its own, as the runtime holds it."""

    name = "hearth"

    def __init__(self, *, model: ModelSpec, folder: Path) -> None:
        self._engine = _supervisor(model, folder, CacheSpec())

    async def open(self, *, n_parallel: int) -> None:
        with _in_a_sentence():
            await self._engine.start()

    async def close(self) -> None:
        await self._engine.stop()

    async def embed(self, texts: Sequence[str]) -> None:
        with _in_a_sentence():
            await self._engine.embed(texts)


def _supervisor(model: ModelSpec, folder: Path, cache: CacheSpec) -> EngineSupervisor:
    return EngineSupervisor(
        model=model,
        command=[sys.executable, "-P", "-m", "engine"],
        state_file=folder / "engine.json",
        log_file=folder / f"{model.path.stem}.log",
        cache=cache,
    )


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise BenchFailed(f"Hearth's engine can't be measured: {error}") from error
