"""Sends answers: whole ones that end with their caller, and event streams that stay alive through a long prompt.

Runs in: the runtime's event loop, one request each.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from agents.api.refusals import Refusal, client_gone, internal

log = logging.getLogger(__name__)

# A refusal within this time is still an HTTP status; later it can only be an event.
STATUS_HELD_S = 2.0
KEEP_ALIVE_S = 10.0
KEEP_ALIVE = b": still working\n\n"

T = TypeVar("T")


def frame(data: Mapping[str, Any], *, event: str | None = None) -> bytes:
    """One server-sent event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {text}\n\n".encode()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work is cancelled when the caller closes the connection first. Raises Refusal."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise client_gone()
        return task.result()
    finally:
        await _end(task, gone)


class EventStream(Response):
    """A stream of frames. `on_refusal` makes the frames that tell of a refusal in the middle, in the API's own way."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        on_refusal: Callable[[Refusal], bytes],
        *,
        source: AsyncGenerator[Any, None],
    ) -> None:
        """`source` is what the frames are made from; it is closed with the stream, whatever state the frames are in."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._on_refusal = on_refusal
        self._source = source
        self._next: asyncio.Task[bytes | None] | None = None
        self._gone: asyncio.Task[None] | None = None

    async def begin(self, request: Request) -> EventStream:
        """Waits a moment for the first frame, so that what is refused at once has a status. Raises Refusal."""
        self._gone = asyncio.create_task(_disconnect(request.receive))
        self._next = asyncio.create_task(self._advance())
        ready = False
        try:
            await asyncio.wait(
                {self._next, self._gone}, timeout=STATUS_HELD_S, return_when=asyncio.FIRST_COMPLETED
            )
            if self._gone.done():
                raise client_gone()
            if self._next.done():
                self._next.result()
            ready = True
        finally:
            if not ready:
                await self._close()
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends frames until the last one or until the caller goes away."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            while (data := await self._next_frame()) is not None:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._close()

    async def _next_frame(self) -> bytes | None:
        """A frame, a sign of life, or None at the end."""
        assert self._gone is not None
        if self._next is None:
            self._next = asyncio.create_task(self._advance())
        await asyncio.wait(
            {self._next, self._gone}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if self._gone.done():
            return None
        if not self._next.done():
            return KEEP_ALIVE
        task, self._next = self._next, None
        try:
            return task.result()
        except Refusal as refusal:
            return self._on_refusal(refusal)

    async def _advance(self) -> bytes | None:
        try:
            return await anext(self._frames, None)
        except Refusal:
            raise
        except Exception as error:
            log.error("a streamed answer failed with an unexpected error", exc_info=error)
            raise internal() from None

    async def _close(self) -> None:
        await _end(*(task for task in (self._next, self._gone) if task is not None))
        await self._frames.aclose()
        await self._source.aclose()


async def _disconnect(receive: Receive) -> None:
    """Returns when the caller has closed the connection; the body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
