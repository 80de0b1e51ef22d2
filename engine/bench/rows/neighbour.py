"""neighbour: how much slower another program's work gets while background agents run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.bench.core import Contender, Goal, Row
from engine.bench.stage import RunWork, Stage
from engine.bench.turns import give_up, open_all, rows_against
from engine.core import Priority

N_AGENTS = 4
AGENT_TOKENS = 32
LEAD_S = 1.0
SMALLEST_PERCENT = 1.0  # less can't be told from noise


async def neighbour(stage: Stage) -> list[Row]:
    """Two programs with fixed work, or as many as there are cores: alone, beside our agents, beside a peer's."""
    peers = stage.concurrent_peers
    contenders = [stage.ours, *peers]
    await open_all(contenders, n_parallel=N_AGENTS)
    slower: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    written: dict[str, int] = dict.fromkeys(slower, 0)
    async with stage.fixed_work(stage.n_cores, stage.scale.fixed_work_s) as run:
        for turn in stage.turns():
            alone = await run()
            for contender in contenders if turn % 2 == 0 else contenders[::-1]:
                beside, tokens = await _beside(stage, contender, run)
                slower[contender.name].append(100 * (beside / alone - 1))
                written[contender.name] += tokens
    row = Row(
        name="neighbour",
        meaning=f"how much slower {stage.n_cores} busy programs get while {N_AGENTS} background agents write",
        unit="% slower",
        ours=tuple(slower[stage.ours.name]),
        higher_is_better=False,
        floor=SMALLEST_PERCENT,
        goal=Goal(max_ours=5.0),
        notes=tuple(f"{name} wrote {written[name]:,} tokens meanwhile" for name in slower),
    )
    return rows_against(peers, slower, row)


async def _beside(stage: Stage, contender: Contender, run: RunWork) -> tuple[float, int]:
    """Seconds of the work beside agents that write all the time, and the tokens of the answers that they finished."""
    async with _agents(stage, contender) as finished:
        await stage.sleep(LEAD_S)
        took_s = await run()
        tokens = sum(finished)
    await contender.settle()
    return took_s, tokens


@asynccontextmanager
async def _agents(stage: Stage, contender: Contender) -> AsyncIterator[list[int]]:
    """Agents that write one answer after the other; yields the sizes of the answers so far."""
    finished: list[int] = []

    async def write_on() -> None:
        while True:
            story = stage.workload.story(AGENT_TOKENS, priority=Priority.BACKGROUND)
            finished.append((await contender.answer(story)).tokens)

    tasks = [asyncio.create_task(write_on()) for _ in range(N_AGENTS)]
    try:
        yield finished
        for task in tasks:
            if task.done():
                task.result()
    finally:
        await give_up(tasks)
