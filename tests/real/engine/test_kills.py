"""The real child killed and frozen in every phase of its work: the runtime lives, and every answer comes after all."""

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from engine.core import Delta, Finished, Prefill, Priority, Request, Restarted, StreamEvent
from engine.errors import EngineDied
from engine.host.restarts import RestartPolicy
from engine.status import EngineState, EngineStatus
from engine.supervisor import EngineSupervisor
from tests.engine.support import request
from tests.real.engine.conftest import Make

SIGNALS = (signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
PHASES = ("load", "prefill", "decode", "streaming")
LIMIT_S = 15.0
PATIENT = RestartPolicy(backoff_s=(0.01,), max_deaths=10_000)
PAGE = "The tide table lies on the desk, and nobody has looked at it since the storm. " * 40


def kill(engine: EngineSupervisor, number: signal.Signals) -> None:
    if engine.status.pid is not None:
        os.kill(engine.status.pid, number)


async def follow(
    engine: EngineSupervisor, asked: Request, on_event: Callable[[StreamEvent], None] = lambda _: None
) -> tuple[list[StreamEvent], float]:
    """The whole stream, and how long it took from a death to the next sign that the request is in work again."""
    events: list[StreamEvent] = []
    silent_s, last = 0.0, time.monotonic()
    async for event in engine.stream(asked):
        silent_s, last = max(silent_s, time.monotonic() - last), time.monotonic()
        events.append(event)
        on_event(event)
    return events, silent_s


def check(events: list[StreamEvent], n_deaths: int) -> None:
    assert isinstance(events[-1], Finished)
    restarts = [at for at, event in enumerate(events) if isinstance(event, Restarted)]
    assert len(restarts) == n_deaths
    rest = events[restarts[-1] + 1 if restarts else 0 :]
    assert "".join(event.text for event in rest if isinstance(event, Delta)) == events[-1].text


def asked(number: int, text: str, max_tokens: int, priority: Priority = Priority.NORMAL) -> Request:
    # the number in front keeps one round from finding its prompt computed by the round before
    return request(
        f"{number}: {text}", request_id=str(number), priority=priority, seed=number, max_tokens=max_tokens
    )


async def kill_while_it_loads(engine: EngineSupervisor, number: signal.Signals, seed: int) -> None:
    await engine.stop()
    killed = False

    def on_status(status: EngineStatus) -> None:
        nonlocal killed
        begins = status.state is EngineState.STARTING and status.pid is not None
        if not killed and begins and (status.load_progress or 0.0) >= random.Random(seed).choice((0.0, 0.5)):
            killed = True
            kill(engine, number)

    unsubscribe = engine.subscribe(on_status)
    await engine.start()
    unsubscribe()
    assert killed
    check((await follow(engine, asked(seed, "Hello?", 4)))[0], 0)


async def kill_while_it_reads(engine: EngineSupervisor, number: signal.Signals, seed: int) -> None:
    done = False

    def on_event(event: StreamEvent) -> None:
        nonlocal done
        if not done and isinstance(event, Prefill) and 0 < event.done_tokens < event.total_tokens:
            done = True
            kill(engine, number)

    events, silent_s = await follow(engine, asked(seed, PAGE, 4), on_event)
    assert done
    assert silent_s < LIMIT_S
    check(events, 1)


async def kill_while_it_writes(engine: EngineSupervisor, number: signal.Signals, seed: int) -> None:
    at, written = random.Random(seed).randint(1, 8), 0

    def on_event(event: StreamEvent) -> None:
        nonlocal written
        if isinstance(event, Delta):
            if written < at <= written + event.tokens:
                kill(engine, number)
            written += event.tokens

    events, silent_s = await follow(engine, asked(seed, "Tell me about the sea.", 60), on_event)
    assert silent_s < LIMIT_S
    check(events, 1)


async def kill_while_many_are_answered(engine: EngineSupervisor, number: signal.Signals, seed: int) -> None:
    begun: set[int] = set()
    killed = False

    def noted(index: int) -> Callable[[StreamEvent], None]:
        def on_event(event: StreamEvent) -> None:
            nonlocal killed
            if isinstance(event, Delta):
                begun.add(index)
            if len(begun) == 4 and not killed:
                killed = True
                kill(engine, number)

        return on_event

    results = await asyncio.gather(
        *(
            follow(engine, asked(seed * 10 + index, "Tell me about the sea.", 60), noted(index))
            for index in range(4)
        )
    )
    assert killed
    for events, _ in results:
        check(events, min(1, sum(isinstance(event, Restarted) for event in events)))
    assert any(isinstance(event, Restarted) for events, _ in results for event in events)


ROUNDS = {
    "load": kill_while_it_loads,
    "prefill": kill_while_it_reads,
    "decode": kill_while_it_writes,
    "streaming": kill_while_many_are_answered,
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_child_that_is_killed_or_frozen_in_any_phase_is_replaced(make: Make, phase: str) -> None:
    engine = make(policy=PATIENT)
    await engine.start()
    for seed, number in enumerate((signal.SIGSEGV, signal.SIGSTOP)):
        async with asyncio.timeout(60):
            await ROUNDS[phase](engine, number, seed + 1)
    assert engine.status.deaths == 2
    assert engine.status.state is EngineState.READY


async def test_among_many_real_answers_only_the_one_that_kills_is_lost(make: Make) -> None:
    engine = make(policy=PATIENT, env={"ENGINE_FAULT": "abort@token:30"})
    await engine.start()
    lengths = (8, 40, 12, 6)
    async with asyncio.timeout(60):
        results = await asyncio.gather(
            *(follow(engine, asked(length, "Tell me about the sea.", length)) for length in lengths),
            return_exceptions=True,
        )
    assert [isinstance(result, EngineDied) for result in results] == [length > 30 for length in lengths]
    assert engine.status.deaths == 2


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_hundred_deaths_in_a_row_in_all_phases(make: Make) -> None:
    engine = make(policy=PATIENT)
    await engine.start()
    rounds = itertools.cycle(itertools.product(PHASES, SIGNALS))
    for seed, (phase, number) in zip(range(1, 101), rounds, strict=False):
        async with asyncio.timeout(120):
            await ROUNDS[phase](engine, number, seed)
        assert engine.status.deaths == seed
    assert engine.status.state is EngineState.READY
