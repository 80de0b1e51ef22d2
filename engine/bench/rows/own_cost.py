"""python_share, queue_cost, speculation: what the engine's own work costs, and what guessing ahead brings."""

from __future__ import annotations

import asyncio
from statistics import quantiles

from engine.bench.core import BenchFailed, Goal, Row
from engine.bench.rows.decode import MANY
from engine.bench.stage import Stage
from engine.bench.turns import give_up

COUNTERS_LAG_S = 0.6  # the child tells at most each half second
N_RUNNING = 16
N_WAITING = 64
VISIBLE_SHARE = 0.02


async def python_share(stage: Stage) -> list[Row]:
    """The share of a step that is spent outside llama.cpp, with eight streams."""
    ours = stage.ours
    await ours.open(n_parallel=MANY)
    shares = []
    for _ in stage.turns():
        before = ours.counters
        stories = [stage.workload.story(stage.scale.stream_tokens) for _ in range(MANY)]
        await asyncio.gather(*(ours.answer(story) for story in stories))
        await ours.settle()
        await stage.sleep(COUNTERS_LAG_S)
        after = ours.counters
        python_s, native_s = after.python_s - before.python_s, after.native_s - before.native_s
        if native_s > 0:
            shares.append(100 * python_s / (native_s + python_s))
    return [
        Row(
            name="python_share",
            meaning=f"share of a step spent outside llama.cpp, with {MANY} streams",
            unit="%",
            ours=shares,
            higher_is_better=False,
            goal=Goal(max_ours=5.0),
        )
    ]


async def queue_cost(stage: Stage) -> list[Row]:
    """How long a step of sixteen streams takes while sixty-four more requests wait, and while none does."""
    ours = stage.ours
    await ours.open(n_parallel=N_RUNNING)
    with_queue: list[float] = []
    without: list[float] = []
    for turn in stage.turns():
        order = ((0, without), (N_WAITING, with_queue))
        for n_waiting, steps in order if turn % 2 == 0 else order[::-1]:
            steps.append(1000 * await _step_s(stage, n_waiting))
            await ours.settle()
    return [
        Row(
            name="queue_cost",
            meaning=f"a step of {N_RUNNING} streams while {N_WAITING} requests wait, beside one while none waits",
            unit="ms",
            ours=with_queue,
            peer=without,
            peer_name="hearth, no queue",
            higher_is_better=False,
            goal=Goal(min_ratio=1 - VISIBLE_SHARE),
        )
    ]


async def _step_s(stage: Stage, n_waiting: int) -> float:
    """The time between two tokens of one of the streams, once all of them write: the lower quartile.

    Other programs can only make a step longer, so the shorter ones say best what the engine itself does.
    """
    ours = stage.ours
    stories = [stage.workload.story(stage.scale.queue_tokens) for _ in range(N_RUNNING + n_waiting)]
    running = [asyncio.create_task(ours.gaps_s(story)) for story in stories[:N_RUNNING]]
    await asyncio.sleep(0)  # they are in front of those that wait
    waiting = [asyncio.create_task(ours.answer(story)) for story in stories[N_RUNNING:]]
    try:
        gaps = await asyncio.gather(*running)
    finally:
        await give_up([*running, *waiting])
    # the first quarter is the time in which the prompts of the others are read
    late = [gap for stream in gaps for gap in stream[len(stream) // 4 :]]
    if len(late) < 2:
        raise BenchFailed("The answers were too short to see how long a step takes.")
    return quantiles(late, n=4)[0]


async def speculation(stage: Stage) -> list[Row]:
    """Copying a text, with guessing ahead and without. The other rows are measured without: all do the same work."""
    ours = stage.ours
    requests = [stage.workload.repetitive(stage.scale.decode_tokens) for _ in range(stage.scale.repeat)]
    rates: dict[bool, list[float]] = {True: [], False: []}
    for speculate in (False, True):
        await ours.reopen(speculate=speculate)
        await ours.answer(stage.workload.story(4))
        for request in requests:
            answer = await ours.answer(request)
            rates[speculate].append(answer.tokens / answer.wall_s)
    return [
        Row(
            name="speculation",
            meaning="copying a text while guessing ahead from the prompt, beside not guessing",
            unit="tokens/s",
            ours=rates[True],
            peer=rates[False],
            peer_name="hearth, no guessing",
        )
    ]
