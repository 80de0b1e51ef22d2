"""A private bus for the tests of this room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.agents.surroundings.buses import FakeLogind, private_bus


@pytest.fixture
def bus_address() -> Iterator[str]:
    with private_bus() as address:
        yield address


@pytest.fixture
async def logind(bus_address: str) -> AsyncIterator[FakeLogind]:
    fake = FakeLogind(bus_address)
    await fake.start()
    yield fake
    await fake.stop()
