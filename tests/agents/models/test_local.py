"""The pool loads models when they are used, keeps what is used, and lets go of the rest."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.core import BUILT_IN_MODEL
from agents.models.local import OVERHEAD_BYTES, EnginePool
from agents.models.residency import Residency
from engine.core import Finished, Message, Request
from engine.errors import EngineStopped, ModelInvalid
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec, PowerLimits
from engine.status import EngineState, EngineStatus
from engine.supervisor import Engine
from tests.agents.conftest import FakeClock

BIG, SMALL = "/models/big.gguf", "/models/small.gguf"


class CountingEngine(ScriptedEngine):
    """A scripted engine that takes memory while it is loaded, and time to load and to stop."""

    def __init__(self, spec: ModelSpec, clock: FakeClock) -> None:
        super().__init__(lambda _: "word " * 5, delay_s=0.001)
        self.spec = spec
        self.clock = clock
        self.loads = 0
        self.refuses = False

    async def start(self) -> None:
        if self.status.state is EngineState.STOPPED:
            await asyncio.sleep(0.01)
            if self.refuses:
                raise ModelInvalid("It can't be loaded; choose another.")
            self.loads += 1
            self.clock.advance(8.0)
        await super().start()

    async def stop(self, timeout_s: float = 5.0) -> None:
        await asyncio.sleep(0.01)
        await super().stop(timeout_s)

    @property
    def status(self) -> EngineStatus:
        status = super().status
        is_loaded = status.state is not EngineState.STOPPED
        return replace(status, memory_bytes=OVERHEAD_BYTES if is_loaded else None)


class House:
    def __init__(self, clock: FakeClock, **changes: Any) -> None:
        self.engines: dict[str, CountingEngine] = {}
        self.due: Mapping[str, float] = {}
        self.clock = clock
        fields: dict[str, Any] = {"residency": Residency(memory_bytes=2 * OVERHEAD_BYTES)}
        self.pool = EnginePool(
            default=ModelSpec(path=Path("/models/default.gguf"), name="default"),
            make_engine=self._make,
            on_status=lambda *_: None,
            next_due=lambda: self.due,
            clock=clock,
            **{**fields, **changes},
        )

    def _make(self, spec: ModelSpec) -> Engine:
        engine = self.engines[spec.path.stem] = CountingEngine(spec, self.clock)
        return engine

    @property
    def loaded(self) -> set[str]:
        return {
            name for name, engine in self.engines.items() if engine.status.state is not EngineState.STOPPED
        }

    async def ask(self, model: str) -> str:
        request = Request(id="r", messages=(Message(role="user", content="Hello?"),))
        async for event in self.pool.engine(model).stream(request):
            if isinstance(event, Finished):
                return event.text
        raise AssertionError("no end")


@pytest.fixture
async def house(clock: FakeClock) -> AsyncIterator[House]:
    made = House(clock)
    yield made
    await made.pool.stop(1.0)


async def test_two_models_live_side_by_side_and_a_third_takes_the_place_of_the_longest_unused(
    house: House, clock: FakeClock
) -> None:
    assert await house.ask(BUILT_IN_MODEL)
    clock.advance(5)
    assert await house.ask(BIG)
    assert house.loaded == {"default", "big"}
    clock.advance(5)
    assert await house.ask(SMALL)
    assert house.loaded == {"default", "small"}, "the default model stays while another can go"
    assert await house.ask(BIG)
    assert house.engines["big"].loads == 2


async def test_what_is_known_of_a_model_beside_its_file_reaches_its_engine(clock: FakeClock) -> None:
    known = ModelSpec(path=Path(BIG), name="The big one", sha256="0" * 64)
    place = House(clock, others=[known])
    for model in (BIG, SMALL):
        place.pool.engine(model)
    assert place.engines["big"].spec is known
    assert place.engines["small"].spec == ModelSpec(path=Path(SMALL), name="small")


async def test_a_model_in_use_is_never_unloaded(house: House) -> None:
    request = Request(id="r", messages=(Message(role="user", content="Hello?"),))
    stream = house.pool.engine(BIG).stream(request)
    await anext(stream)
    assert not await house.pool.unload(BIG)
    await asyncio.gather(house.ask(BUILT_IN_MODEL), house.ask(SMALL))
    assert "big" in house.loaded
    assert isinstance([event async for event in stream][-1], Finished)
    assert await house.pool.unload(BIG)
    assert "big" not in house.loaded


async def test_who_comes_while_a_model_is_unloaded_waits_and_is_served(house: House) -> None:
    await house.ask(BIG)
    unloading = asyncio.create_task(house.pool.unload(BIG))
    await asyncio.sleep(0)
    assert await house.ask(BIG)
    assert await unloading
    assert house.engines["big"].loads == 2


async def test_many_callers_load_a_model_once(house: House) -> None:
    answers = await asyncio.gather(*(house.ask(BIG) for _ in range(8)))
    assert len(set(answers)) == 1
    assert house.engines["big"].loads == 1


async def test_idle_models_go_but_the_default_one_and_one_that_is_due_soon(
    house: House, clock: FakeClock
) -> None:
    await house.ask(BUILT_IN_MODEL)
    await house.ask(BIG)
    clock.advance(899)
    await house.pool.unload_idle()
    assert house.loaded == {"default", "big"}
    clock.advance(1)
    house.due = {BIG: 15.0}
    await house.pool.unload_idle()
    assert house.loaded == {"default", "big"}, "loading it again takes 8 s"
    house.due = {BIG: 17.0}
    await house.pool.unload_idle()
    assert house.loaded == {"default"}


async def test_a_load_that_fails_harms_nobody_and_may_succeed_later(house: House) -> None:
    house.pool.engine(BIG)
    house.engines["big"].refuses = True
    with pytest.raises(ModelInvalid):
        await house.ask(BIG)
    house.engines["big"].refuses = False
    assert await house.ask(BIG)


async def test_a_caller_who_leaves_while_a_model_loads_leaves_nothing_held(house: House) -> None:
    leaving = asyncio.create_task(house.ask(BIG))
    await asyncio.sleep(0.005)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert await house.ask(BIG)
    assert await house.pool.unload(BIG)


async def test_a_prefix_is_forgotten_by_every_model(house: House) -> None:
    await house.ask(BIG)
    house.pool.engine(SMALL)
    await house.pool.forget_prefix("agent-1-part")
    assert house.engines["big"].forgotten == house.engines["small"].forgotten == ["agent-1-part"]
    assert "small" not in house.loaded, "nothing is loaded for that"


async def test_after_the_end_nothing_is_loaded_any_more(clock: FakeClock) -> None:
    house = House(clock)
    await house.ask(BIG)
    await house.pool.stop(1.0)
    assert house.loaded == set()
    with pytest.raises(EngineStopped):
        await house.ask(BIG)
    assert house.loaded == set()


async def test_a_prefix_on_disk_is_forgotten_before_any_model_was_used(clock: FakeClock) -> None:
    house = House(clock)
    await house.pool.forget_prefix("agent-1-part")
    assert house.engines["default"].forgotten == ["agent-1-part"]
    assert house.loaded == set()


async def test_limits_reach_every_engine_also_those_that_are_made_later(house: House) -> None:
    await house.ask(BIG)
    house.pool.set_limits(PowerLimits(max_threads=1, background=False))
    await house.ask(SMALL)
    assert [house.engines[name].limits for name in ("big", "small")] == [
        PowerLimits(max_threads=1, background=False)
    ] * 2


async def test_after_a_sleep_an_engine_that_does_not_answer_is_ended(house: House) -> None:
    await house.ask(BIG)
    await house.ask(SMALL)

    async def never(texts: object) -> list[int]:
        await asyncio.sleep(60.0)
        return []

    house.engines["big"].count_tokens = never  # type: ignore[method-assign]
    await house.pool.probe(0.05)
    assert house.engines["big"].status.state is EngineState.STOPPED
    assert house.engines["small"].status.state is EngineState.READY


async def test_a_probe_loads_nothing(house: House) -> None:
    house.pool.engine(BIG)
    await house.pool.probe()
    assert house.engines["big"].loads == 0
