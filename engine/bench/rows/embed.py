"""embed: how many passages of a document become vectors in a second, as memory and document search need them."""

from __future__ import annotations

from dataclasses import replace

from engine.bench.core import Row
from engine.bench.stage import Stage

PASSAGE_TOKENS = 120
N_PARALLEL = 8


async def embed(stage: Stage) -> list[Row]:
    """Many passages in one call; none where there is no embedding model."""
    if not stage.embedders:
        return []
    samples: dict[str, list[float]] = {embedder.name: [] for embedder in stage.embedders}
    for embedder in stage.embedders:
        await embedder.open(n_parallel=N_PARALLEL)
        await embedder.embed(await stage.workload.passages(2, PASSAGE_TOKENS))
    for turn in stage.turns():
        passages = await stage.workload.passages(stage.scale.texts, PASSAGE_TOKENS)
        for embedder in stage.embedders if turn % 2 == 0 else stage.embedders[::-1]:
            started = stage.clock()
            await embedder.embed(passages)
            samples[embedder.name].append(len(passages) / (stage.clock() - started))
    ours, *peers = stage.embedders
    row = Row(
        name="embed",
        meaning=f"passages of {PASSAGE_TOKENS} tokens that become vectors, many in one call",
        unit="passages/s",
        ours=samples[ours.name],
    )
    return [replace(row, peer=samples[peer.name], peer_name=peer.name) for peer in peers] or [row]
