"""The built-in embedding model in a real child, and tiny ones for what it does not show."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.builtin import EMBEDDER_NAME, built_in_embedder
from engine.core import Priority
from engine.errors import ModelInvalid, PromptTooLong, RequestInvalid
from engine.model import ModelSpec
from engine.supervisor import EngineSupervisor
from tests.engine.support import request
from tests.real.engine.oracle import pooled
from tests.real.engine.tiny_models import N_EMBD, Kind, Pooling, write_model

Make = Callable[..., EngineSupervisor]

SENTENCES = (
    "A man is eating a piece of bread.",
    "Someone is having a meal.",
    "The central bank raised its interest rates again.",
    "Borrowing money has become more expensive.",
    "My cat sleeps on the window sill all day.",
    "Die Heizung im Büro ist seit Montag kaputt.",
)
ALIKE = ((0, 1), (2, 3))
# The first numbers of two vectors as they were when the file was compared with the reference implementation (cosine 0.9995
# and better). Rounding differs between processors by about 0.001 in each.
GOLDEN = {
    0: (0.0527, 0.0585, -0.0118, -0.0052, -0.1263, -0.0221),
    4: (0.1105, 0.0169, 0.0415, 0.1209, -0.0116, -0.0257),
}


def cosine(left: array[float], right: array[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def passages() -> list[str]:
    """Texts of very different lengths out of words that are in every library."""
    words = Path(__file__).read_text(encoding="utf-8").split()
    return [" ".join(words[start : start + 5 + start % 60]) for start in range(0, 300, 9)]


@pytest.fixture
async def embedder(make: Make) -> EngineSupervisor:
    engine = make(model=built_in_embedder())
    await engine.start()
    return engine


async def test_vectors_of_the_built_in_model(embedder: EngineSupervisor) -> None:
    assert embedder.status.embedding
    assert embedder.status.n_ctx == 512
    assert embedder.status.model_name == EMBEDDER_NAME
    together = await embedder.embed(SENTENCES)
    for place, numbers in GOLDEN.items():
        assert list(together.vectors[place][: len(numbers)]) == pytest.approx(numbers, abs=0.005)
    assert {len(vector) for vector in together.vectors} == {384}
    for vector in together.vectors:
        assert cosine(vector, vector) == pytest.approx(1.0, abs=1e-6)

    for place, other in ALIKE:
        rivals = [cosine(together.vectors[place], vector) for vector in together.vectors]
        rivals[place] = -1.0
        assert rivals.index(max(rivals)) == other, f"{SENTENCES[place]!r} is most like {SENTENCES[other]!r}"

    again = await embedder.embed(SENTENCES)
    assert again == together
    assert together.tokens == sum(await embedder.count_tokens(SENTENCES))


async def test_a_text_has_the_same_vector_alone_and_in_company(embedder: EngineSupervisor) -> None:
    texts = passages()
    together = await embedder.embed(texts)
    for text, vector in zip(texts, together.vectors, strict=True):
        single = await embedder.embed([text])
        # llama.cpp's kernels round otherwise for another number of rows, by less than Q8_0 rounds; with the tiny models
        # below, whose weights are not rounded, the two agree to the last digits
        assert cosine(vector, single.vectors[0]) >= 0.9995


async def test_what_can_not_be_embedded_is_named_and_the_rest_of_the_engine_goes_on(
    embedder: EngineSupervisor,
) -> None:
    texts = [*SENTENCES * 20, "word " * 600, "short"]
    with pytest.raises(PromptTooLong, match=r"^Text 121 has 602 tokens and the model takes 512 at a time"):
        await embedder.embed(texts)
    with pytest.raises(RequestInvalid, match=r"^Text 2 is empty"):
        await embedder.embed(["a", " "])
    with pytest.raises(RequestInvalid, match="writes none; choose a chat model"):
        async for _ in embedder.stream(request("hello")):
            pass
    longest = "word " * 510
    assert await embedder.count_tokens([longest]) == [512]
    assert (await embedder.embed([longest])).tokens == 512
    assert embedder.status.deaths == 0


async def test_a_question_goes_before_a_long_list_and_a_list_that_nobody_wants_is_dropped(
    embedder: EngineSupervisor, tmp_path: Path
) -> None:
    many = [f"{number}. {SENTENCES[number % len(SENTENCES)]}" * 12 for number in range(200)]
    listed = asyncio.create_task(embedder.embed(many, priority=Priority.BACKGROUND))
    while not embedder.counters.batches:
        assert not listed.done()
        await asyncio.sleep(0.01)
    question = await embedder.embed(["Who broke the heating?"], priority=Priority.INTERACTIVE)
    assert len(question.vectors) == 1
    assert not listed.done()
    listed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listed
    after = await embedder.embed(SENTENCES[:2])
    assert cosine(*after.vectors) > 0.3
    assert embedder.status.deaths == 0
    log = tmp_path / "engine.log"
    assert not log.exists() or "failed to" not in log.read_text()  # a stop that was asked for is no trouble


async def test_a_chat_model_makes_no_vectors(make: Make) -> None:
    engine = make()
    with pytest.raises(RequestInvalid, match="choose an embedding model"):
        await engine.embed(["text"])


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        (Kind.BERT, Pooling.FIRST),
        (Kind.BERT, Pooling.MEAN),
        (Kind.LLAMA, Pooling.LAST),
    ],
    ids=["first", "mean", "last"],
)
async def test_each_way_of_pooling_gives_what_llama_cpp_gives(
    make: Make, tmp_path: Path, kind: Kind, pooling: Pooling
) -> None:
    path = write_model(tmp_path / "m.gguf", kind, pooling=pooling)
    engine = make(model=ModelSpec(path=path, name="tiny"))
    texts = ["abc", "hello there you", "abd", "x" * 100, "y z " * 12]
    vectors = (await engine.embed(texts)).vectors
    assert {len(vector) for vector in vectors} == {N_EMBD}
    for vector, expected in zip(vectors, pooled(path, texts, pooling), strict=True):
        assert cosine(vector, array("f", expected)) > 0.999999
    assert cosine(vectors[0], vectors[1]) < 0.99


@pytest.mark.parametrize(
    ("pooling", "sentence"),
    [
        (Pooling.RANK, "ranks texts and makes no vectors; choose an embedding model"),
        (None, "does not write text; choose a chat model"),
    ],
    ids=["reranker", "encoder"],
)
async def test_an_encoder_without_vectors_is_refused_with_a_sentence(
    make: Make, tmp_path: Path, pooling: Pooling | None, sentence: str
) -> None:
    path = write_model(tmp_path / "m.gguf", Kind.BERT, pooling=pooling)
    engine = make(model=ModelSpec(path=path, name="tiny"))
    with pytest.raises(ModelInvalid, match=sentence):
        await engine.start()
