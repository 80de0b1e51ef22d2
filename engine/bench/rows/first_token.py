"""ttft_busy and ttft_warm_prefix: how long a person, or an agent that wakes, waits for the first token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.bench.core import BenchFailed, Contender, Goal, Row
from engine.bench.stage import Stage
from engine.bench.turns import give_up, in_turns, open_all, rows_against
from engine.core import Request

N_BACKGROUND = 6
BACKGROUND_ANSWER_TOKENS = 128
LEAD_S = 0.5  # the background work is well under way when the question comes


async def ttft_busy(stage: Stage) -> list[Row]:
    """The wait beside six long background prompts: against llama-server, and against ourselves on an idle engine."""
    peers = stage.concurrent_peers
    contenders = [stage.ours, *peers]
    await open_all(contenders, n_parallel=N_BACKGROUND + 2)
    idle: list[float] = []

    async def warm_up(contender: Contender) -> None:
        await contender.first_token_s(stage.workload.question())

    async def measure(contender: Contender, turn: int) -> float:
        if contender is stage.ours:
            idle.append(await contender.first_token_s(stage.workload.question()))
            await contender.settle()
        background = [
            await stage.workload.document(stage.scale.background_tokens, BACKGROUND_ANSWER_TOKENS)
            for _ in range(N_BACKGROUND)
        ]
        async with working_on(stage, contender, background):
            return await contender.first_token_s(stage.workload.question())

    samples = await in_turns(contenders, stage.turns(), measure, warm_up=warm_up)
    busy = tuple(samples[stage.ours.name])
    load = f"{N_BACKGROUND} background prompts of {stage.scale.background_tokens:,} tokens"
    row = Row(
        name="ttft_busy",
        meaning=f"until a person's question gets its first token while {load} run",
        unit="s",
        ours=busy,
        higher_is_better=False,
        goal=Goal(min_ratio=20.0),
    )
    own = Row(
        name="ttft_busy_own_idle",
        meaning="the same wait beside our own on an idle engine, which may be a third of it at the least",
        unit="s",
        ours=busy,
        peer=tuple(idle),
        peer_name="hearth, idle",
        higher_is_better=False,
        goal=Goal(min_ratio=1 / 3),
    )
    return [*rows_against(peers, samples, row), own]


@asynccontextmanager
async def working_on(stage: Stage, contender: Contender, requests: list[Request]) -> AsyncIterator[None]:
    """The contender works on these requests meanwhile; afterwards they are given up. Raises BenchFailed if they ended before."""
    tasks = [asyncio.create_task(contender.answer(request)) for request in requests]
    try:
        await stage.sleep(LEAD_S)
        yield
        for task in tasks:
            if task.done():
                task.result()
        if all(task.done() for task in tasks):
            raise BenchFailed("The background work ended before it could disturb the measurement.")
    finally:
        await give_up(tasks)


async def ttft_warm_prefix(stage: Stage) -> list[Row]:
    """An agent's first token after a restart of the engine: its fixed prefix unknown, and known from the disk.

    Both are the first request of a fresh child, and starting the child is part of neither.
    """
    ours = stage.ours
    cold: list[float] = []
    warm: list[float] = []
    for _ in stage.turns():
        first, second = await stage.workload.agent(stage.scale.prefix_tokens)
        await ours.reopen()
        cold.append(await ours.first_token_s(first))
        await ours.settle()
        await ours.reopen()
        warm.append(await ours.first_token_s(second))
        await ours.settle()
    return [
        Row(
            name="ttft_warm_prefix",
            meaning=(
                f"until an agent with a fixed prefix of {stage.scale.prefix_tokens:,} tokens answers after a restart, "
                "beside reading all of it anew"
            ),
            unit="s",
            ours=warm,
            peer=cold,
            peer_name="hearth, cold",
            higher_is_better=False,
            goal=Goal(min_ratio=10.0),
        )
    ]
