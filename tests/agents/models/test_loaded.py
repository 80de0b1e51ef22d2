"""What is loaded can be seen and given back, by ids and never by paths that nobody opened."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.core import BUILT_IN_MODEL
from agents.errors import Conflict, NotFound
from agents.models.loaded import LoadedModels
from agents.models.served import ServedModels
from engine.model import ModelSpec
from tests.agents.conftest import FakeClock
from tests.agents.models.test_local import BIG, House


@pytest.fixture
async def house(clock: FakeClock) -> AsyncIterator[House]:
    made = House(clock)
    yield made
    await made.pool.stop(1.0)


@pytest.fixture
def models(house: House) -> LoadedModels:
    default = ModelSpec(path=Path("/models/default.gguf"), name="default")
    served = ServedModels(engines=house.pool, default=default)
    return LoadedModels(engines=house.pool, served=served, due=lambda: house.due)


async def test_the_list_tells_what_is_loaded_for_how_long_unused_and_when_needed(
    house: House, models: LoadedModels, clock: FakeClock
) -> None:
    [default] = models.list()
    assert (default.id, default.loaded, default.memory_bytes) == ("default", False, None)
    await house.ask(BIG)
    clock.advance(5)
    house.due = {BIG: 60.0}
    default, big = models.list()
    assert (big.id, big.loaded, big.idle_s, big.due_s) == ("big", True, 5.0, 60.0)
    assert big.memory_bytes
    assert default.due_s is None


async def test_a_model_is_unloaded_when_somebody_says_so_and_loaded_by_its_next_use(
    house: House, models: LoadedModels
) -> None:
    await house.ask(BUILT_IN_MODEL)
    assert not (await models.unload(BUILT_IN_MODEL)).loaded
    assert house.loaded == set()
    assert not (await models.unload("default")).loaded, "twice is no mistake"
    await house.ask(BUILT_IN_MODEL)
    assert house.loaded == {"default"}


async def test_a_model_at_work_stays_and_an_unknown_one_is_told(house: House, models: LoadedModels) -> None:
    asking = asyncio.create_task(house.ask(BIG))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="at work"):
        await models.unload("big")
    await asking
    with pytest.raises(NotFound, match="hearth models list"):
        await models.unload(BIG)
