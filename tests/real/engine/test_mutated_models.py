"""Damaged model files: each is refused with a sentence, by the check of its header or by the child, and nobody dies of it."""

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from engine.errors import EngineError, ModelError
from engine.host.gguf import check_model_file
from engine.model import ModelSpec
from engine.status import EngineState
from engine.supervisor import EngineSupervisor
from tests.real.engine.conftest import Make
from tests.real.engine.tiny_models import Kind, write_model

LIMIT_S = 10.0
Mutation = Callable[[bytearray], None]
NUMBERS = (
    0,
    1,
    2,
    7,
    31,
    63,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def put(at: int, data: bytes) -> Mutation:
    def mutate(image: bytearray) -> None:
        place = at % max(1, len(image) - len(data))
        image[place : place + len(data)] = data

    return mutate


def cut(at: int) -> Mutation:
    def mutate(image: bytearray) -> None:
        del image[at % len(image) :]

    return mutate


def swap(one: int, other: int, size: int) -> Mutation:
    def mutate(image: bytearray) -> None:
        last = max(len(image) - size, 0)  # where little is left, it stays as it is
        a, b = one % (last + 1), other % (last + 1)
        first, second = image[a : a + size], image[b : b + size]
        image[a : a + size], image[b : b + size] = second, first

    return mutate


PLACES = st.integers(0, 2**20)
WORDS = st.sampled_from(NUMBERS)
MUTATIONS = st.lists(
    st.one_of(
        st.builds(put, PLACES, st.binary(min_size=1, max_size=8)),
        st.builds(put, PLACES, WORDS.map(lambda number: struct.pack("<Q", number))),
        st.builds(put, PLACES, WORDS.map(lambda number: struct.pack("<I", number & 0xFFFFFFFF))),
        st.builds(cut, PLACES),
        st.builds(swap, PLACES, PLACES, st.sampled_from((1, 4, 8, 32))),
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The smallest real model: its header is what is damaged."""
    path = tmp_path_factory.mktemp("healthy") / "tiny.gguf"
    write_model(path, Kind.LLAMA)
    return path.read_bytes()


def mutated(healthy: bytes, header_bytes: int, mutations: Sequence[Mutation]) -> bytes:
    header = bytearray(healthy[:header_bytes])
    for mutate in mutations:
        mutate(header)
        if not header:
            break
    return bytes(header) + (healthy[header_bytes:] if len(header) == header_bytes else b"")


def survivors(healthy: bytes, folder: Path, n_examples: int) -> list[bytes]:
    """Checks so many damaged files; returns those that the check takes for models, each once."""
    path = folder / "mutated.gguf"
    path.write_bytes(healthy)
    header_bytes = check_model_file(path).data_offset
    passed: dict[bytes, None] = {}

    @seed(20260)
    @settings(max_examples=n_examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutations=MUTATIONS)
    def judge(mutations: Sequence[Mutation]) -> None:
        image = mutated(healthy, header_bytes, mutations)
        path.write_bytes(image)
        began = time.monotonic()
        try:
            check_model_file(path)
        except ModelError as refused:
            sentence = str(refused)
            assert sentence.endswith(".")
            assert "\n" not in sentence
        else:
            if image != healthy:
                passed[image] = None
        assert time.monotonic() - began < LIMIT_S

    judge()
    return list(passed)


async def load(make: Make, folder: Path, number: int, image: bytes) -> tuple[str, float]:
    """How a real child takes a damaged model: "loaded", or the kind of the refusal; and how long that took."""
    path = folder / f"{number}.gguf"
    path.write_bytes(image)
    engine: EngineSupervisor = make(
        model=ModelSpec(path=path, name="mutated"), state_file=folder / f"{number}.json"
    )
    began = time.monotonic()
    outcome = "loaded"
    try:
        await engine.start()
        assert engine.status.state is EngineState.READY
    except EngineError as refused:
        outcome = type(refused).__name__
        sentence = str(refused)
        assert sentence.endswith(".")
        assert "\n" not in sentence
    took_s = time.monotonic() - began
    await engine.stop()
    assert engine.status.pid is None
    path.unlink()
    return outcome, took_s


async def test_damaged_headers_are_refused_with_a_sentence_or_loaded(
    make: Make, healthy: bytes, tmp_path: Path
) -> None:
    images = await asyncio.to_thread(survivors, healthy, tmp_path, 300)
    assert len(images) > 20, "the check refuses everything: the child is not tried"
    step = len(images) // 4
    for number, image in enumerate(images[:: step + 1]):
        async with asyncio.timeout(6 * LIMIT_S):  # a busy machine; the soak test measures
            await load(make, tmp_path, number, image)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_ten_thousand_damaged_headers(make: Make, healthy: bytes, tmp_path: Path) -> None:
    images = await asyncio.to_thread(survivors, healthy, tmp_path, 10_000)
    slow: list[float] = []
    for number, image in enumerate(images):
        _, took_s = await load(make, tmp_path, number, image)
        if took_s > LIMIT_S:
            slow.append(took_s)
    assert slow == []
