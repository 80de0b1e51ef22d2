"""Many clients at once, who ask for everything in too small a context and go away in the middle: each gets its own answer.

The tiny model's weights are random: what it writes depends on every token before, so a state that is not its own shows in
each letter. The built-in model shows the same at the size that people use.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.builtin import built_in_model
from engine.model import CacheSpec, KvType, ModelSpec
from engine.status import EngineState
from engine.supervisor import EngineSupervisor
from tests.real.engine.storm import Storm, questions
from tests.real.engine.tiny_models import Kind, write_model

Make = Callable[..., EngineSupervisor]

CHECKED = (sys.executable, str(Path(__file__).with_name("checked_child.py")))
MIB = 1024 * 1024


def cache(folder: Path) -> CacheSpec:
    """So small that states move on from the RAM to the disk, and pinned prefixes make each other room."""
    return CacheSpec(
        ram_bytes=4 * MIB, disk_bytes=64 * MIB, folder=folder / "states", key=secrets.token_hex(32)
    )


def tiny(folder: Path) -> ModelSpec:
    # with keys and values in 8 bits its attention is the same to the bit however a prompt is cut
    path = write_model(folder / "tiny.gguf", Kind.LLAMA)
    return ModelSpec(path=path, name="tiny", kv_type=KvType.Q8_0, n_ctx=2048)


async def settled(engine: EngineSupervisor) -> None:
    """Wait until the child has nothing left to do and has looked through its books."""
    async with asyncio.timeout(30):
        while engine.counters.running or engine.counters.waiting or engine.status.state is EngineState.BUSY:
            await asyncio.sleep(0.05)
    for _ in range(
        3
    ):  # each is answered in another turn of the child's loop, after the look of the turn before
        assert await engine.count_tokens(["calm"])


async def weather(
    engine: EngineSupervisor, log: Path, *, n_questions: int, n_clients: int, n_requests: int
) -> Storm:
    """A storm from its first question to the calm after it."""
    await engine.start()
    started = engine._started
    assert started is not None
    pid = engine.status.pid
    storm = Storm(
        engine=engine,
        asks=questions(random.Random(n_clients), n_questions),
        is_exact=started.facts.batch_stable,
    )
    await storm.ask_alone()
    before = engine.counters
    await storm.rage(n_clients=n_clients, n_requests=n_requests, seed=n_requests)
    await settled(engine)

    assert storm.n_answered + storm.n_cancelled == n_clients * n_requests
    assert storm.n_answered > 0.6 * n_clients * n_requests
    assert storm.n_cancelled > 0
    assert (engine.status.pid, engine.status.deaths) == (pid, 0)
    assert (engine.status.running, engine.status.waiting) == (0, 0)
    after = engine.counters
    assert (after.running, after.waiting, after.swapped) == (0, 0, 0)
    assert after.kv_used <= after.kv_cells
    assert after.prompt_tokens - before.prompt_tokens >= storm.prompt_tokens
    assert after.generated_tokens - before.generated_tokens >= storm.completion_tokens
    assert after.batch_sequences - before.batch_sequences > after.batches - before.batches, "in company"
    assert after.swaps_in <= after.swaps_out <= after.preemptions
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    assert [line for line in said.splitlines() if line.startswith("engine:")] == []
    return storm


async def test_a_storm_leaves_each_answer_as_it_is_alone_and_the_books_in_order_after_every_step(
    make: Make, tmp_path: Path
) -> None:
    engine = make(
        model=tiny(tmp_path), state_file=tmp_path / "own.json", cache=cache(tmp_path), command=CHECKED
    )
    storm = await weather(engine, tmp_path / "engine.log", n_questions=40, n_clients=16, n_requests=20)
    assert storm.ties == [], "every letter is the same"
    assert engine.counters.swaps_in > 0, "not all had room at once"


async def test_a_storm_over_the_built_in_model(make: Make, tmp_path: Path) -> None:
    model = replace(built_in_model(), n_ctx=512)
    engine = make(model=model, state_file=tmp_path / "own.json", cache=cache(tmp_path))
    storm = await weather(engine, tmp_path / "engine.log", n_questions=10, n_clients=8, n_requests=4)
    storm.check_ties()


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_a_long_storm_over_a_tiny_model(make: Make, tmp_path: Path) -> None:
    engine = make(
        model=tiny(tmp_path), state_file=tmp_path / "own.json", cache=cache(tmp_path), command=CHECKED
    )
    storm = await weather(engine, tmp_path / "engine.log", n_questions=100, n_clients=16, n_requests=200)
    assert storm.ties == [], "every letter is the same"


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_a_long_storm_over_the_built_in_model(make: Make, tmp_path: Path) -> None:
    model = replace(built_in_model(), n_ctx=768)
    engine = make(model=model, state_file=tmp_path / "own.json", cache=cache(tmp_path), command=CHECKED)
    storm = await weather(engine, tmp_path / "engine.log", n_questions=40, n_clients=16, n_requests=200)
    assert engine.counters.swaps_in > 0, "not all had room at once"
    storm.check_ties()
    print(f"{len(storm.ties)} of {storm.n_compared} left at a tie, at most {max(storm.ties, default=0):.2f}")
