"""tool_call: how fast a tool call under a JSON schema is written, and whether each one is valid."""

from __future__ import annotations

from collections import Counter

from engine.bench.core import Contender, Goal, Row
from engine.bench.stage import Stage
from engine.bench.turns import in_turns, open_all, rows_against
from engine.bench.workload import is_valid_call


async def tool_call(stage: Stage) -> list[Row]:
    """Tokens a second over some calls, one after the other, as an agent's loop makes them."""
    contenders = [stage.ours, *stage.peers]
    await open_all(contenders, n_parallel=1)
    valid: Counter[str] = Counter()
    asked: Counter[str] = Counter()

    async def warm_up(contender: Contender) -> None:
        await contender.answer(stage.workload.tool_call())

    turns = [
        [stage.workload.tool_call() for _ in range(stage.scale.tool_calls)] for _ in range(stage.scale.repeat)
    ]

    async def measure(contender: Contender, turn: int) -> float:
        tokens = 0
        started = stage.clock()
        answers = [await contender.answer(request) for request in turns[turn]]
        wall_s = stage.clock() - started
        for answer in answers:
            asked[contender.name] += 1
            valid[contender.name] += is_valid_call(answer.text)
            tokens += answer.tokens
        return tokens / wall_s

    samples = await in_turns(contenders, stage.turns(), measure, warm_up=warm_up)
    row = Row(
        name="tool_call",
        meaning="writing a tool call that a JSON schema prescribes",
        unit="tokens/s",
        ours=tuple(samples[stage.ours.name]),
        goal=Goal(min_ratio=2.0),
        failed=valid[stage.ours.name] < asked[stage.ours.name],
        notes=tuple(f"{name}: {valid[name]} of {asked[name]} calls are valid" for name in samples),
    )
    return rows_against(stage.peers, samples, row)
