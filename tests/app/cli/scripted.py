"""The stand-in runtime, with a script of events for each connection to the event stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from tests.app.desktop.fake_runtime import FakeRuntime, an_event


@dataclass(frozen=True, kw_only=True)
class Script:
    """Event data; raw text; functions, called on the way; numbers of seconds to wait. It begins after `after` was answered."""

    steps: tuple[Any, ...]
    after: str | None
    times: int


class ScriptedRuntime(FakeRuntime):
    """Plays one script per connection, in order; a connection without one stays silent and open."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.answered: list[str] = []
        self.gone_after_stop = True
        self._scripts: list[Script] = []

    def script(self, *steps: Any, after: str | None = None, times: int = 1) -> None:
        """The next connection's events; they begin once `after` ("GET /path") was answered so often from then on."""
        self._scripts.append(Script(steps=steps, after=after, times=times))

    def leave(self) -> None:
        """Ends the server from within, as a runtime that stops."""
        assert self._server is not None
        self._server.should_exit = True

    def stop(self) -> None:
        if self._thread is not None and self._loop is not None and self._loop.is_closed():
            self._thread.join(10)
            self._server = self._thread = None
        super().stop()

    def _status_routes(self, app: FastAPI) -> None:
        @app.middleware("http")
        async def note_answer(request: Request, call_next: Any) -> Response:
            answer: Response = await call_next(request)
            self.answered.append(f"{request.method} {request.url.path}")
            return answer

        # The route that is added first answers.
        @app.get("/v1/events")
        async def events() -> StreamingResponse:
            lines = self._play(self._scripts.pop(0)) if self._scripts else self._silence()
            return StreamingResponse(lines, media_type="text/event-stream")

        @app.post("/v1/stop", status_code=202)
        async def stop() -> None:
            if self.gone_after_stop:
                self.leave()

        super()._status_routes(app)

    async def _play(self, script: Script) -> AsyncIterator[str]:
        begin = len(self.answered)
        while script.after is not None and self.answered[begin:].count(script.after) < script.times:
            await asyncio.sleep(0.005)
        for number, step in enumerate(script.steps, start=1):
            if isinstance(step, int | float):
                await asyncio.sleep(step)
            elif isinstance(step, str):
                yield f"data: {step}\n\n"
            elif callable(step):
                step()
            else:
                yield f"data: {an_event(step, number).model_dump_json()}\n\n"

    async def _silence(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while (text := await queue.get()) is not None:
                yield f"data: {text}\n\n"
        finally:
            self._listeners.remove(queue)
