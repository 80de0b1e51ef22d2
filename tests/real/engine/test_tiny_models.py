"""Every kind of memory gives, kept or swapped or shared or cut, the text of a run that kept nothing.

The models are tiny and their weights random: what they write depends on every token before, so a wrong state shows. With
a KV cache of f16 llama.cpp's attention rounds otherwise for batches of 64 tokens and more, and two tokens that are
nearly as likely may change places; with q8_0 it is exact, and so are these tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.builtin import built_in_model
from engine.core import Finished, Message, PinnedPrefix, Priority, Request, SamplingParams
from engine.model import CacheSpec, KvType, ModelSpec
from engine.supervisor import EngineSupervisor
from tests.engine.support import request
from tests.real.engine.oracle import continued
from tests.real.engine.tiny_models import SLIDING_WINDOW, Kind, write_model

Make = Callable[..., EngineSupervisor]

KV_TYPES = {
    Kind.LLAMA: KvType.Q8_0,
    Kind.GEMMA3: KvType.Q8_0,
    Kind.LFM2: KvType.Q8_0,
    Kind.MAMBA: KvType.F16,  # it has no KV cache
}
N_TOKENS = 64
ROUNDING = 0.03  # of a logit, by far more than the two ways of f16 differ
START = "The minutes of the meeting. Anna orders the chairs, Ben calls the landlord about the heating. "
PROMPTS = {
    "first": START + "What is open?",
    "same": START + "What is open?",
    "longer": START + "What is open? The heating. And who calls?",
    "branch": START + "Who orders the chairs, and when?",
    "early branch": START[:20] + "of the meeting. Nothing of this was said before.",
    "back": START + "What is open?",
    "other": "A text that begins otherwise, " * 3,
}
assert len(START) > 2 * SLIDING_WINDOW, "what is kept reaches beyond the window"


def model_of(folder: Path, kind: Kind, kv_type: KvType | None = None, **changes: Any) -> ModelSpec:
    path = write_model(folder / f"{kind}.gguf", kind)
    return ModelSpec(
        path=path, name=f"tiny {kind}", kv_type=kv_type or KV_TYPES[kind], **{"n_ctx": 1024, **changes}
    )


def raw(
    prompt: str, number: int = 0, *, n_tokens: int = N_TOKENS, priority: Priority = Priority.NORMAL
) -> Request:
    return Request(
        id=f"r{number}",
        prompt=prompt,
        sampling=SamplingParams(temperature=0.0, max_tokens=n_tokens),
        priority=priority,
    )


async def answer(engine: EngineSupervisor, asked: Request) -> Finished:
    events = [event async for event in engine.stream(asked)]
    last = events[-1]
    assert isinstance(last, Finished)
    return last


async def texts(engine: EngineSupervisor, asked: Sequence[Request]) -> list[str]:
    return [last.text for last in await asyncio.gather(*(answer(engine, each) for each in asked))]


@pytest.mark.parametrize("kind", KV_TYPES)
async def test_what_is_kept_of_a_prompt_changes_nothing(make: Make, tmp_path: Path, kind: Kind) -> None:
    model = model_of(tmp_path, kind)
    engine = make(model=model)
    expected = continued(model.path, list(PROMPTS.values()), N_TOKENS, kv_type=KV_TYPES[kind])
    assert len(set(expected)) == len(set(PROMPTS.values())), "each prompt counts"
    cached = {}
    for (name, prompt), text in zip(PROMPTS.items(), expected, strict=True):
        last = await answer(engine, raw(prompt))
        assert last.text == text, f"the prompt {name!r}"
        cached[name] = last.usage.cached_tokens
    assert cached["first"] == 0
    assert cached["other"] == 0
    if kind is Kind.LLAMA:  # the others may only take up a state exactly where it was kept
        assert cached["same"] == len(PROMPTS["same"].replace("th", "t")) - 1
        assert cached["branch"] > len(START) // 2


@pytest.mark.parametrize("kind", KV_TYPES)
async def test_many_at_once_that_do_not_fit_together_write_what_each_writes_alone(
    make: Make, tmp_path: Path, kind: Kind
) -> None:
    n_tokens = 100
    prompts = [f"{number * 37} begins" for number in range(8)]
    model = model_of(tmp_path, kind, n_ctx=256, n_slots=6)
    engine = make(model=model)
    expected = continued(model.path, prompts, n_tokens, kv_type=KV_TYPES[kind])
    asked = [
        raw(prompt, number, n_tokens=n_tokens, priority=list(Priority)[number % 3])
        for number, prompt in enumerate(prompts)
    ]
    assert await texts(engine, asked) == expected
    assert await texts(engine, asked) == expected
    assert engine.counters.swaps_out > 0
    assert engine.status.deaths == 0


@pytest.mark.parametrize("kind", KV_TYPES)
async def test_a_request_that_gives_way_to_a_question_goes_on_where_it_stood(
    make: Make, tmp_path: Path, kind: Kind
) -> None:
    n_tokens, question = 160, "And a short question?"
    prompts = [f"{number}. {START}" for number in range(3)]
    model = model_of(tmp_path, kind, n_ctx=256, n_slots=2)
    engine = make(model=model)
    expected = continued(model.path, [*prompts, question], n_tokens, kv_type=KV_TYPES[kind])
    slow = [
        asyncio.create_task(
            answer(engine, raw(prompt, number, n_tokens=n_tokens, priority=Priority.BACKGROUND))
        )
        for number, prompt in enumerate(prompts)
    ]
    for number in range(10, 16):
        await asyncio.sleep(0.02)
        asked = raw(question, number, n_tokens=24, priority=Priority.INTERACTIVE)
        assert expected[-1].startswith((await answer(engine, asked)).text)
    assert [last.text for last in await asyncio.gather(*slow)] == expected[:-1]
    assert engine.counters.preemptions > 0


@pytest.mark.parametrize("kind", KV_TYPES)
async def test_a_pinned_prefix_that_comes_back_from_the_disk_changes_nothing(
    make: Make, tmp_path: Path, kind: Kind
) -> None:
    model = model_of(tmp_path, kind)
    cache = CacheSpec(folder=tmp_path / "cache", key="5a" * 32)
    questions = ["What is open?", "Who orders the chairs, and when?"]
    rendered = [f"system: {START * 2}\nuser: {question}\nassistant: " for question in questions]
    expected = continued(model.path, rendered, N_TOKENS, kv_type=KV_TYPES[kind])
    for number, (question, text) in enumerate(zip(questions, expected, strict=True)):
        engine = make(model=model, cache=cache)
        asked = Request(
            id="r",
            messages=(
                Message(role="system", content=START * 2),
                Message(role="user", content=question),
            ),
            sampling=SamplingParams(temperature=0.0, max_tokens=N_TOKENS),
            prefix=PinnedPrefix(name="minutes"),
        )
        last = await answer(engine, asked)
        assert last.text == text
        assert (last.usage.cached_tokens > len(START)) is (number > 0)
        await engine.stop()


@pytest.mark.parametrize("kv_type", KvType)
@pytest.mark.parametrize("kind", [Kind.LLAMA, Kind.GEMMA3, Kind.LFM2])
async def test_each_number_format_of_the_kv_cache_gives_what_llama_cpp_gives_with_it(
    make: Make, tmp_path: Path, kind: Kind, kv_type: KvType
) -> None:
    model = model_of(tmp_path, kind, kv_type)
    engine = make(model=model)
    prompts = list(PROMPTS.values())
    lead = ROUNDING if kv_type is KvType.F16 else 0.0
    expected = continued(model.path, prompts, N_TOKENS, kv_type=kv_type, lead=lead)
    assert sum(map(len, expected)) > 20
    for prompt, text in zip(prompts, expected, strict=True):
        assert (await answer(engine, raw(prompt))).text.startswith(text)


@pytest.mark.parametrize("kind", [Kind.LLAMA, Kind.GEMMA3, Kind.LFM2])
def test_the_number_format_shows_in_what_the_tiny_models_write(tmp_path: Path, kind: Kind) -> None:
    path = write_model(tmp_path / "m.gguf", kind)
    prompts = list(PROMPTS.values())
    exact, rounded = (continued(path, prompts, N_TOKENS, kv_type=each) for each in (KvType.F16, KvType.Q4_0))
    assert exact != rounded


@pytest.mark.parametrize("is_kin", [True, False], ids=["same vocabulary", "another vocabulary"])
async def test_guesses_of_a_tiny_model_change_no_answer(make: Make, tmp_path: Path, is_kin: bool) -> None:
    plain = built_in_model()
    draft = write_model(tmp_path / "draft.gguf", Kind.LLAMA, vocabulary_of=plain.path if is_kin else None)
    question = request("Name three colours.", temperature=0.0, max_tokens=24)
    alone = await answer(make(model=replace(plain, speculate=False)), question)
    guessed = await answer(make(model=replace(plain, draft_path=draft)), question)
    assert guessed.text == alone.text
    if not is_kin:
        assert "can't guess for this model" in (tmp_path / "engine.log").read_text(encoding="utf-8")
