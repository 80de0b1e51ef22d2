"""Goes on with a stream after the engine was restarted: what the reader has is not sent again, and never contradicted."""

from __future__ import annotations

from dataclasses import replace

from agents.api.refusals import Refusal
from engine.core import Delta, Finished, Restarted, StreamEvent, ToolCall, ToolCalled


class Continuation:
    """Passes on one answer's events. The APIs have no way to take text back, so a repeated answer is compared with
    what was sent: as long as it is the same (requests carry a seed) it is held back, and when it differs the stream fails.
    """

    def __init__(self) -> None:
        self._sent = ""
        self._calls: list[ToolCall] = []
        self._again: str | None = None  # the repeated answer's text, until it has caught up
        self._n_calls = 0  # of the answer as it is being written now

    def take(self, event: StreamEvent) -> StreamEvent | None:
        """What of an event is new to the reader. Raises Refusal when the repeated answer is another one."""
        match event:
            case Restarted():
                self._again = "" if self._sent else None
                self._n_calls = 0
                return None
            case Delta():
                return self._text(event)
            case ToolCalled():
                return self._call(event)
            case Finished():
                if not event.text.startswith(self._sent) or len(event.tool_calls) < len(self._calls):
                    raise _diverged()
        return event

    def _text(self, event: Delta) -> Delta | None:
        if self._again is None:
            self._sent += event.text
            return event
        self._again += event.text
        if not (self._again.startswith(self._sent) or self._sent.startswith(self._again)):
            raise _diverged()
        if len(self._again) < len(self._sent):
            return None
        fresh = self._again[len(self._sent) :]
        self._sent, self._again = self._again, None
        return replace(event, text=fresh) if fresh else None

    def _call(self, event: ToolCalled) -> ToolCalled | None:
        self._n_calls += 1
        if self._n_calls > len(self._calls):
            self._calls.append(event.call)
            return event
        sent = self._calls[self._n_calls - 1]
        if (sent.name, sent.arguments) != (event.call.name, event.call.arguments):
            raise _diverged()
        return None


def _diverged() -> Refusal:
    return Refusal(
        500,
        "The engine was restarted in the middle of the answer and wrote another one; ask again.",
        code="engine_restarted",
        retry=True,
    )
