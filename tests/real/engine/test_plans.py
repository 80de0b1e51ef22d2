"""Trial loads of the built-in model where memory is short: steps down, words, and what is remembered."""

from pathlib import Path
from typing import Any

import pytest

from engine.builtin import built_in_model
from engine.errors import ModelTooLarge
from engine.model import KvType, ModelSpec
from engine.status import EngineStatus
from engine.supervisor import EngineSupervisor
from tests.engine.support import request
from tests.real.engine.conftest import Make


def wished(**wishes: Any) -> ModelSpec:
    model = built_in_model()
    return ModelSpec(path=model.path, name=model.name, sha256=model.sha256, **wishes)


async def answer(engine: EngineSupervisor) -> str:
    events = [event async for event in engine.stream(request("Say hello.", temperature=0.0, max_tokens=8))]
    return str(getattr(events[-1], "text", ""))


async def test_with_room_the_whole_context_is_kept_and_the_load_tells_how_far_it_is(make: Make) -> None:
    engine = make()
    seen: list[EngineStatus] = []
    engine.subscribe(seen.append)
    await engine.start()
    assert engine.status.plan == (
        "All on the processor: 30 layers, a context of 8,192 tokens, KV cache f16 (189 MB)."
    )
    assert engine.status.memory_bytes is not None
    assert 280e6 < engine.status.memory_bytes < 600e6
    progress = [status.load_progress for status in seen if status.load_progress is not None]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert engine.status.load_progress is None


async def test_where_memory_is_short_the_cache_shrinks_and_the_user_is_told(
    make: Make, tmp_path: Path
) -> None:
    state_file = tmp_path / "own.json"
    engine = make(free_memory=lambda: 360_000_000, state_file=state_file)
    await engine.start()
    assert engine.status.plan == (
        "All on the processor: 30 layers, a context of 8,192 tokens, KV cache q8_0 (100 MB). "
        "There was no room for 8,192 tokens in f16."
    )
    assert await answer(engine)
    assert engine.status.deaths == 0
    await engine.stop()
    again = make(state_file=state_file)
    await again.start()
    assert "f16" in (again.status.plan or ""), "memory that others took may be free again later"


@pytest.mark.parametrize("kv_type", [KvType.Q8_0, KvType.Q4_0])
async def test_a_cache_type_that_is_asked_for_is_used(make: Make, tmp_path: Path, kv_type: KvType) -> None:
    engine = make(model=wished(kv_type=kv_type, n_ctx=1024), state_file=tmp_path / "own.json")
    assert await answer(engine)
    assert f"a context of 1,024 tokens, KV cache {kv_type.value}" in (engine.status.plan or "")


async def test_a_wish_that_does_not_fit_is_refused_and_not_changed(make: Make, tmp_path: Path) -> None:
    model = wished(n_ctx=8192, kv_type=KvType.F16)
    engine = make(model=model, free_memory=lambda: 360_000_000, state_file=tmp_path / "own.json")
    with pytest.raises(ModelTooLarge, match=r"MB of memory and 360 MB are free; close other programs"):
        await engine.start()
    assert engine.status.pid is None
