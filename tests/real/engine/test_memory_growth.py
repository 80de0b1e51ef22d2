"""Loading and unloading, and thousands of requests: memory, descriptors, threads and files stay as they are."""

from __future__ import annotations

import asyncio
import math
import os
import random
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine.builtin import built_in_embedder, built_in_model
from engine.core import PinnedPrefix, Priority, Request
from engine.model import CacheSpec, KvType, ModelSpec
from engine.states.snapshots import MIN_BACKLOG_BYTES
from engine.supervisor import EngineSupervisor
from tests.engine.support import message, request
from tests.real.engine.footprint import Footprint, check_handles, check_memory, growth
from tests.real.engine.storm import DESKS, Kind, follow, question
from tests.real.engine.tiny_models import Kind as Architecture
from tests.real.engine.tiny_models import write_model

Make = Callable[..., EngineSupervisor]

MIB = 1024 * 1024
AT_ONCE = 8
SENTENCES = Path(__file__).read_text(encoding="utf-8").split()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the temporary files of both processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
async def one_helper() -> None:
    """The loop's pool of threads grows up to its limit when it likes to; here it has one, so that others show."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))


def pid_of(engine: EngineSupervisor) -> int:
    pid = engine.status.pid
    assert pid is not None
    return pid


def short(number: int) -> Request:
    """One of many short requests: raw, with a kept prefix, under a schema, or a plain question."""
    rng = random.Random(number)
    priority = rng.choice(tuple(Priority))
    asked = request(
        f"{number}. What now?", request_id=f"{number}", priority=priority, seed=number, max_tokens=2
    )
    match number % 5:
        case 0:  # 95 pages in turn, of which the disk holds some: files come and go
            desk = sorted(DESKS)[number % len(DESKS)]
            page = message(f"Page {number % 475}. {DESKS[desk][:300]}", role="system")
            pinned = PinnedPrefix(name=f"page {number % 475}")
            return replace(asked, messages=(page, *asked.messages), prefix=pinned)
        case 1:
            return replace(question(Kind.CHOICE, "mark", number).request, id=f"{number}", priority=priority)
        case 2:
            return replace(asked, messages=(), prompt=f"{number} {number + 1} ")
        case 3:  # begins like others, so that it shares their cells
            return replace(asked, messages=(message(DESKS["west"][:200], role="system"), *asked.messages))
        case _:
            return asked


async def ask(engine: EngineSupervisor, number: int) -> None:
    """Ask one of many; each eleventh goes away once the answer begins."""
    leaves = number % 11 == 0
    answer = await follow(engine, short(number), leave_after=1 if leaves else None)
    assert leaves or answer is not None


async def in_waves(
    n_waves: int, size: int, one: Callable[[int], Awaitable[None]], after_wave: Callable[[], None]
) -> None:
    """size calls in each wave, some at once; after_wave is called when nothing is under way."""
    for wave in range(n_waves):
        left = list(range(wave * size, (wave + 1) * size))

        async def worker(left: list[int] = left) -> None:
            while left:
                await one(left.pop(0))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
        after_wave()


@dataclass(frozen=True, kw_only=True)
class House:
    """A model and room for some of what the requests leave behind."""

    model: ModelSpec
    ram_bytes: int
    disk_bytes: int

    def cache(self, folder: Path) -> CacheSpec:
        """With a key of its own."""
        key = secrets.token_hex(32)
        return CacheSpec(ram_bytes=self.ram_bytes, disk_bytes=self.disk_bytes, folder=folder, key=key)


def tiny(folder: Path) -> House:
    path = write_model(folder / "tiny.gguf", Architecture.LLAMA)
    model = ModelSpec(path=path, name="tiny", kv_type=KvType.Q8_0, n_ctx=2048)
    return House(model=model, ram_bytes=MIB // 2, disk_bytes=2 * MIB)


def built_in(_folder: Path) -> House:
    model = replace(built_in_model(), n_ctx=1024)
    return House(model=model, ram_bytes=4 * MIB, disk_bytes=32 * MIB)


async def serve(
    make: Make, house: House, folder: Path, *, n_waves: int, size: int
) -> dict[str, list[Footprint]]:
    """Many short requests in waves, and what both processes hold after each."""
    cache = house.cache(folder)
    engine = make(model=house.model, cache=cache)
    await engine.start()
    held: dict[str, list[Footprint]] = {"the runtime": [], "the child": []}
    n_files: list[int] = []

    def look() -> None:
        held["the runtime"].append(Footprint.of(os.getpid()))
        held["the child"].append(Footprint.of(pid_of(engine)))
        n_files.append(sum(1 for _ in folder.rglob("*")))

    await in_waves(n_waves, size, lambda number: ask(engine, number), look)
    counters = engine.counters
    assert counters.cached_resident_tokens > 0
    assert counters.ram_cache_bytes <= cache.ram_bytes + 2 * MIN_BACKLOG_BYTES, (
        "with what is on its way to the disk"
    )
    assert counters.disk_cache_bytes <= cache.disk_bytes
    assert max(n_files) > 0, "prefixes lie on the disk"
    assert max(n_files) < 60, f"old ones make room for new ones: {n_files}"
    assert engine.status.deaths == 0
    await engine.stop()
    return held


async def reload(make: Make, n_cycles: int) -> dict[str, list[Footprint]]:
    """Load, answer, unload; what the runtime holds after each cycle, and each child before its end."""
    engine = make()
    held: dict[str, list[Footprint]] = {"the runtime": [], "the child": []}
    for number in range(n_cycles):
        await engine.start()
        answer = await follow(engine, request("Who is there?", seed=number, max_tokens=2))
        assert answer is not None
        held["the child"].append(Footprint.of(pid_of(engine)))
        await engine.stop()
        assert engine.status.pid is None
        held["the runtime"].append(Footprint.of(os.getpid()))
    assert engine.status.deaths == 0
    return held


def passage(number: int) -> str:
    rng = random.Random(number)
    at = rng.randrange(len(SENTENCES) - 60)
    return f"{number} " + " ".join(SENTENCES[at : at + rng.randint(1, 60)])


async def embed(make: Make, *, n_waves: int, size: int) -> dict[str, list[Footprint]]:
    """Lists of texts of all sizes to vectors, in waves; some are given up."""
    engine = make(model=built_in_embedder())
    await engine.start()
    held: dict[str, list[Footprint]] = {"the runtime": [], "the child": []}

    async def one(number: int) -> None:
        rng = random.Random(number)
        texts = [passage(number * 10 + place) for place in range(10)]
        asked = asyncio.ensure_future(engine.embed(texts, priority=rng.choice(tuple(Priority))))
        if number % 11 == 3:
            await asyncio.sleep(rng.random() * 0.01)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return
        found = await asked
        assert len(found.vectors) == len(texts)
        for vector in found.vectors:
            assert math.fsum(x * x for x in vector) == pytest.approx(1.0, abs=1e-5)

    def look() -> None:
        held["the runtime"].append(Footprint.of(os.getpid()))
        held["the child"].append(Footprint.of(pid_of(engine)))

    await in_waves(n_waves, size, one, look)
    assert engine.status.deaths == 0
    assert (engine.status.running, engine.status.waiting) == (0, 0)
    return held


async def test_growth_is_the_rise_of_the_second_half() -> None:
    assert growth([0, 9, 100, 100, 100, 100]) == pytest.approx(0.0)
    assert growth([0, 0, 0, 100, 105, 110]) == pytest.approx(0.10)
    assert growth([0, 0, 0, 0, 100, 99, 101, 100]) < 0.01


async def test_loading_and_unloading_leaves_nothing_behind(make: Make, temporary: Path) -> None:
    for name, footprints in (await reload(make, 6)).items():
        check_handles(name, footprints)
    assert list(temporary.iterdir()) == []


async def test_hundreds_of_requests_leave_nothing_behind(make: Make, tmp_path: Path, temporary: Path) -> None:
    held = await serve(make, tiny(tmp_path), tmp_path / "states", n_waves=6, size=100)
    for name, footprints in held.items():
        check_handles(name, footprints)
    assert list(temporary.iterdir()) == []


async def test_hundreds_of_texts_leave_nothing_behind(make: Make, temporary: Path) -> None:
    for name, footprints in (await embed(make, n_waves=6, size=4)).items():
        check_handles(name, footprints)
    assert list(temporary.iterdir()) == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_memory_does_not_grow_over_two_hundred_loads(make: Make, temporary: Path) -> None:
    for name, footprints in (await reload(make, 200)).items():
        check_memory(name, footprints)
        check_handles(name, footprints)
    assert list(temporary.iterdir()) == []


@pytest.mark.soak
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("house", [tiny, built_in])
async def test_memory_does_not_grow_over_ten_thousand_requests(
    make: Make, tmp_path: Path, temporary: Path, house: Callable[[Path], House]
) -> None:
    held = await serve(make, house(tmp_path), tmp_path / "states", n_waves=100, size=100)
    for name, footprints in held.items():
        check_memory(name, footprints)
        check_handles(name, footprints)
    assert list(temporary.iterdir()) == []


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_memory_does_not_grow_over_two_thousand_texts(make: Make, temporary: Path) -> None:
    for name, footprints in (await embed(make, n_waves=20, size=10)).items():
        check_memory(name, footprints)
        check_handles(name, footprints)
    assert list(temporary.iterdir()) == []
