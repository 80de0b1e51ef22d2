"""The event bus."""

from __future__ import annotations

import asyncio

from agents import contract
from agents.events import MAX_BACKLOG, EventBus
from tests.agents.conftest import FakeClock


def notice(text: str) -> contract.Notice:
    return contract.Notice(level=contract.NoticeLevel.INFO, text=text)


async def collect(bus: EventBus) -> list[contract.Event]:
    return [event async for event in bus.subscribe()]


async def test_every_subscriber_gets_every_event_in_order(clock: FakeClock) -> None:
    bus = EventBus(clock)
    readers = [asyncio.create_task(collect(bus)) for _ in range(3)]
    await asyncio.sleep(0)
    for text in "abc":
        bus.publish(notice(text))
    bus.close()
    for events in await asyncio.gather(*readers):
        assert [event.data.text for event in events] == ["a", "b", "c"]
        assert [event.id for event in events] == [1, 2, 3]


async def test_a_reader_that_does_not_read_is_disconnected_and_the_others_are_not(clock: FakeClock) -> None:
    bus = EventBus(clock)
    slow = bus.subscribe()
    first = asyncio.ensure_future(anext(slow))
    quick = asyncio.create_task(collect(bus))
    await asyncio.sleep(0)
    for index in range(MAX_BACKLOG + 10):
        bus.publish(notice(str(index)))
        if index % 100 == 0:
            await asyncio.sleep(0)
    await first
    rest = [event async for event in slow]
    bus.close()
    assert len(rest) < MAX_BACKLOG + 9
    assert len(await quick) == MAX_BACKLOG + 10


async def test_a_closed_bus_ends_late_subscribers_at_once(clock: FakeClock) -> None:
    bus = EventBus(clock)
    bus.close()
    assert await collect(bus) == []
