"""One request on its way between the caller of stream() and the dispatcher.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio

from engine.child_process import EngineChild
from engine.core import Delta, Request, StreamEvent
from engine.errors import EngineError
from engine.messages import Abort, Submit, Text


class Job:
    """The request, the events for its caller, and the child that works on it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.events: asyncio.Queue[StreamEvent | EngineError] = asyncio.Queue()
        self._closed = False
        self._parts: list[str] = []
        self._child: EngineChild | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._parts)

    def is_wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self._closed

    def submit_to(self, child: EngineChild) -> None:
        """Hand the request to a child; what an earlier child said is void."""
        self._parts.clear()
        self._child = child
        child.post(Submit(request=self.request))

    def take(self, text: Text) -> None:
        """Note new text and pass it on."""
        self._parts.append(text.text)
        self.events.put_nowait(Delta(text=text.text, tokens=text.tokens, logprobs=text.logprobs))

    def detach(self) -> None:
        """The child has nothing to do with this request any more."""
        self._child = None

    def close(self) -> None:
        """The caller is gone: stop the work, wherever it is."""
        if not self._closed:
            self._closed = True
            if self._child is not None:
                self._child.post(Abort(id=self.request.id))
