"""The event bus: what changed, told to every connected client. Runs in: the runtime's event loop only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from agents.clock import Clock
from agents.contract import Event, EventData

# A client that has fallen this far behind is disconnected: it reconnects and reads the state anew.
MAX_BACKLOG = 2_000


class EventBus:
    """Publishes in order to any number of subscribers. It stores nothing: the database is the record."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids = itertools.count(1)
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._closed = False

    def publish(self, data: EventData) -> None:
        """Hands `data` to every subscriber without waiting for any of them."""
        event = Event(id=next(self._ids), at=self._clock.now(), data=data)
        for queue in list(self._queues):
            if queue.qsize() >= MAX_BACKLOG:
                self._queues.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    async def subscribe(self) -> AsyncIterator[Event]:
        """Yields every event from now on, until the bus closes or this reader is too slow."""
        if self._closed:
            return
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)

    def close(self) -> None:
        """Ends every subscription after what was already published."""
        self._closed = True
        for queue in self._queues:
            queue.put_nowait(None)
