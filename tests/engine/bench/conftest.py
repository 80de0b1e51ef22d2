"""A stage on which nothing is real: contenders with a known speed, a clock that they move, and programs of no weight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engine.bench.core import Answer, Contender, Scale, quick_scale
from engine.bench.stage import Stage
from engine.bench.workload import Workload
from engine.core import JsonSchema, Priority, Request
from engine.status import EngineCounters

VALID_CALL = (
    '{"tool":"set_heating_of_room","arguments":{"room":"kitchen","mode":"off","target_celsius":18,'
    '"notify_residents":true,"until":"noon"}}'
)


@dataclass
class Clock:
    """Moves only when somebody works or sleeps."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(5):  # everybody gets on with what he does meanwhile
            await asyncio.sleep(0)


@dataclass
class Scripted:
    """A contender of known speed. Background answers last for ever; the others move the clock."""

    name: str
    clock: Clock
    rate: float = 100.0
    idle_first_s: float = 0.1
    busy_first_s: float = 0.2
    call: str = VALID_CALL
    concurrent: bool = True
    short_background: int = 0  # so many background answers end at once; the others last for ever
    asked: list[Request] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    given_up: int = 0
    background: int = 0

    async def open(self, *, n_parallel: int) -> None:
        self.opened.append(n_parallel)

    async def close(self) -> None:
        self.opened.clear()

    async def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        if request.priority is Priority.BACKGROUND:
            await self._work_in_the_background()
        tokens = request.sampling.max_tokens
        self.clock.now += tokens / self.rate
        text = self.call if isinstance(request.constraint, JsonSchema) else "text"
        return Answer(text=text, tokens=tokens, wall_s=tokens / self.rate)

    async def first_token_s(self, request: Request) -> float:
        self.asked.append(request)
        return self.busy_first_s if self.background else self.idle_first_s

    async def settle(self) -> None:
        assert self.background == 0

    async def _work_in_the_background(self) -> None:
        if self.short_background > 0:
            self.short_background -= 1
            return
        self.background += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.background -= 1
            self.given_up += 1


@dataclass
class ScriptedOwn(Scripted):
    """Hearth's engine with known counters and steps."""

    counters: EngineCounters = field(default_factory=EngineCounters)
    python_share: float = 0.02
    step_s: float = 0.010
    queued_step_s: float = 0.010
    known: set[str] = field(default_factory=set)
    warm_first_s: float = 0.01
    speculates: bool = False
    answering: int = 0

    async def answer(self, request: Request) -> Answer:
        self.answering += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.answering -= 1
        answer = await super().answer(request)
        native_s = answer.wall_s * (1 - self.python_share)
        self.counters = replace(
            self.counters,
            native_s=self.counters.native_s + native_s,
            python_s=self.counters.python_s + answer.wall_s - native_s,
        )
        return answer

    async def first_token_s(self, request: Request) -> float:
        if request.prefix is not None and request.prefix.name in self.known:
            return self.warm_first_s
        if request.prefix is not None:
            self.known.add(request.prefix.name)
        return await super().first_token_s(request)

    async def gaps_s(self, request: Request) -> list[float]:
        await asyncio.sleep(0)  # those that wait come right after those that run
        await asyncio.sleep(0)
        return [self.queued_step_s if self.answering else self.step_s] * request.sampling.max_tokens

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) * 2 for text in texts]

    async def reopen(self, *, speculate: bool = False) -> None:
        self.speculates = speculate


Make = Callable[..., Stage]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ours(clock: Clock) -> ScriptedOwn:
    return ScriptedOwn(name="hearth", clock=clock)


@pytest.fixture
def make_stage(ours: ScriptedOwn, clock: Clock) -> Make:
    """A stage with our engine and the given peers."""

    def make(*peers: Contender, scale: Scale | None = None, **changes: Any) -> Stage:
        @asynccontextmanager
        async def spinning(n_programs: int) -> AsyncIterator[None]:
            yield

        @asynccontextmanager
        async def fixed_work(n_programs: int, work_s: float) -> AsyncIterator[Callable[[], Awaitable[float]]]:
            async def run() -> float:
                busy = next((each for each in (ours, *peers) if getattr(each, "background", 0)), None)
                return work_s * changes.get("slowdown", {}).get(busy.name if busy else None, 1.0)

            yield run

        return Stage(
            ours=ours,
            peers=peers,
            embedders=changes.get("embedders", ()),
            workload=Workload(ours.count_tokens),
            scale=scale or replace(quick_scale(3), row_limit_s=60.0),
            n_cores=2,
            spinning=spinning,
            fixed_work=fixed_work,
            read_bandwidth=lambda n_threads: 1e10,
            bytes_per_token=lambda n_before: 50_000_000,
            clock=clock,
            sleep=clock.sleep,
        )

    return make
