"""Many answers at once on a real model: nobody's text changes, a person comes first, and everybody comes to an end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine.builtin import built_in_model
from engine.core import Delta, Finished, Prefill, Priority, Request, SamplingParams
from engine.model import KvType, ModelSpec
from engine.status import EngineCounters
from engine.supervisor import EngineSupervisor
from tests.engine.support import request
from tests.real.engine.oracle import continued
from tests.real.engine.tiny_models import Kind, write_model

Make = Callable[..., EngineSupervisor]

# With this KV cache llama.cpp rounds alike in any company; with f16 its attention has a way of its own for a token alone.
STABLE = KvType.Q8_0
NOTE = "All work and no play makes the engine a dull child. " * 85  # about 1,100 tokens


def plain_model(**changes: object) -> ModelSpec:
    return replace(built_in_model(), speculate=False, **changes)  # type: ignore[arg-type]


async def answer(engine: EngineSupervisor, asked: Request) -> Finished:
    events = [event async for event in engine.stream(asked)]
    last = events[-1]
    assert isinstance(last, Finished)
    return last


async def rested(engine: EngineSupervisor, done: Sequence[Finished]) -> EngineCounters:
    """What the child counts once all its work has ended, these answers included: it tells that after the last one."""
    n_tokens = sum(last.usage.completion_tokens for last in done)
    async with asyncio.timeout(10):
        while engine.counters.running or engine.counters.generated_tokens < n_tokens:
            await asyncio.sleep(0.02)
    return engine.counters


async def test_eight_streams_write_what_each_writes_alone(make: Make) -> None:
    engine = make(model=plain_model(kv_type=STABLE, n_slots=8))
    asked = [
        request(f"Tell me about the number {n}.", request_id=f"r{n}", temperature=0.0, max_tokens=20)
        for n in range(8)
    ]
    alone = [await answer(engine, each) for each in asked]
    before = await rested(engine, alone)
    together = await asyncio.gather(*(answer(engine, each) for each in asked))
    assert [last.text for last in together] == [last.text for last in alone]
    assert len({last.text for last in alone}) > 1
    after = await rested(engine, [*alone, *together])
    n_batches = after.batches - before.batches
    assert after.batch_sequences - before.batch_sequences > 4 * n_batches, "they shared their batches"


async def test_a_question_starts_within_a_few_batches_while_six_long_prompts_are_read(make: Make) -> None:
    engine = make(model=plain_model())
    await answer(engine, request("Hello.", max_tokens=1))
    read: list[int] = []

    async def background(number: int) -> None:
        asked = request(
            f"{number}. {NOTE}", request_id=f"b{number}", max_tokens=1, priority=Priority.BACKGROUND
        )
        async for event in engine.stream(asked):
            if isinstance(event, Prefill):
                read.append(event.done_tokens)  # noqa: PERF401 - the others look at it meanwhile

    work = [asyncio.create_task(background(number)) for number in range(6)]
    try:
        while not any(read):
            await asyncio.sleep(0.01)
        n_before = len(read)
        asked = request("Which day is it?", request_id="q", max_tokens=4, priority=Priority.INTERACTIVE)
        n_at_first: int | None = None
        async with aclosing(engine.stream(asked)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Delta) and n_at_first is None:
                    n_at_first = len(read)
        assert n_at_first is not None
        assert n_at_first - n_before <= 3, "chunks of others, from the question to its first word"
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def test_the_same_prompt_asked_many_times_at_once_is_read_once(make: Make) -> None:
    engine = make(model=plain_model())
    asked = [request(NOTE[:2000], request_id=f"r{n}", seed=n, max_tokens=2) for n in range(6)]
    done = await asyncio.gather(*(answer(engine, each) for each in asked))
    usages = [last.usage for last in done]
    n_prompt = usages[0].prompt_tokens
    assert n_prompt > 300
    assert sorted(usage.cached_tokens for usage in usages) == [0] + [n_prompt - 1] * 5


async def test_a_prompt_that_is_cancelled_while_it_is_read_leaves_the_others_alone(
    make: Make, tmp_path: Path
) -> None:
    engine = make(model=plain_model(kv_type=STABLE))
    stays = request("Count the days.", request_id="stays", temperature=0.0, max_tokens=30)
    alone = (await answer(engine, stays)).text
    beside = asyncio.create_task(answer(engine, stays))
    for number in range(3):
        async with aclosing(engine.stream(request(NOTE, request_id=f"goes{number}"))) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Prefill) and event.done_tokens:
                    break
    assert (await beside).text == alone
    assert engine.status.deaths == 0
    log = tmp_path / "engine.log"
    assert not log.exists() or "failed to" not in log.read_text()  # a stop that was asked for is no trouble


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One request of the stress: what, how much, for whom, and after how many deltas its client goes away."""

    prompt: str
    n_tokens: int
    priority: Priority
    leaves_after: int | None


def demands(n: int, seed: int) -> list[Demand]:
    source = random.Random(seed)
    starts = [" ".join(f"{source.randrange(100)}" for _ in range(source.randrange(1, 40))) for _ in range(12)]
    return [
        Demand(
            prompt=f"{source.choice(starts)} {source.randrange(4)}",
            n_tokens=source.randrange(1, 60),
            priority=source.choice(list(Priority)),
            leaves_after=source.randrange(8) if source.random() < 0.25 else None,
        )
        for _ in range(n)
    ]


async def stress(make: Make, folder: Path, *, n_clients: int, n_each: int) -> None:
    model = ModelSpec(
        path=write_model(folder / "m.gguf", Kind.LLAMA), name="tiny", kv_type=STABLE, n_ctx=512, n_slots=8
    )
    asked = [demands(n_each, seed) for seed in range(n_clients)]
    prompts = sorted({demand.prompt for each in asked for demand in each})
    texts = dict(zip(prompts, continued(model.path, prompts, 60, kv_type=STABLE), strict=True))
    engine = make(model=model)
    n_left, done = 0, list[Finished]()

    async def client(number: int) -> None:
        nonlocal n_left
        for place, demand in enumerate(asked[number]):
            sampling = SamplingParams(temperature=0.0, max_tokens=demand.n_tokens)
            one = Request(
                id=f"c{number}-{place}", prompt=demand.prompt, sampling=sampling, priority=demand.priority
            )
            text, n_deltas, last = "", 0, None
            async with aclosing(engine.stream(one)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, Delta):
                        text += event.text
                        n_deltas += 1
                        if demand.leaves_after is not None and n_deltas > demand.leaves_after:
                            break
                    last = event
            assert texts[demand.prompt].startswith(text)
            if isinstance(last, Finished):
                assert last.text == text
                assert last.usage.completion_tokens <= demand.n_tokens
                done.append(last)
            else:
                n_left += 1

    await asyncio.gather(*(client(number) for number in range(n_clients)))
    assert n_left + len(done) == n_clients * n_each
    assert 0 < n_left < len(done)
    # the child looks through its books whenever its work ends, and dies when they are wrong
    done.append(await answer(engine, Request(id="last", prompt="1 2 3")))
    assert engine.status.deaths == 0
    counters = await rested(engine, done)
    assert (counters.waiting, counters.swapped) == (0, 0)
    assert counters.swaps_out > 0
    assert counters.cached_resident_tokens > 0


async def test_clients_that_come_and_go_all_get_their_own_answers(make: Make, tmp_path: Path) -> None:
    await stress(make, tmp_path, n_clients=12, n_each=12)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_sixteen_clients_with_two_hundred_requests_each(make: Make, tmp_path: Path) -> None:
    await stress(make, tmp_path, n_clients=16, n_each=200)
