"""roofline: how much of the memory's speed one stream uses; each token reads all weights and its keys and values once."""

from __future__ import annotations

import asyncio

from engine.bench.core import Row
from engine.bench.stage import Stage
from engine.bench.turns import rate_of


async def roofline(stage: Stage) -> list[Row]:
    """Bytes that one token must read, times tokens a second, over what as many threads read from memory at best."""
    ours = stage.ours
    await ours.open(n_parallel=1)
    n_tokens = stage.scale.decode_tokens
    await ours.answer(stage.workload.story(4))
    bytes_per_token = stage.bytes_per_token(n_tokens // 2)
    shares, best = [], 0.0
    for _ in stage.turns():
        bandwidth = await asyncio.to_thread(stage.read_bandwidth, stage.n_cores)
        rate = await rate_of(ours, [stage.workload.story(n_tokens)], stage.clock)
        await ours.settle()
        shares.append(100 * rate * bytes_per_token / bandwidth)
        best = max(best, bandwidth)
    return [
        Row(
            name="roofline",
            meaning="share of the memory's speed that writing one answer uses",
            unit="% of memory",
            ours=shares,
            notes=(
                f"{bytes_per_token / 1e6:.0f} MB a token; memory reads {best / 1e9:.1f} GB/s with {stage.n_cores} threads",
            ),
        )
    ]
