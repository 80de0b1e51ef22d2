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
        self._n_logprobs_sent = 0
        self._calls: list[ToolCall] = []
        # Of the answer as it is being written now, which may be the repeated one.
        self._text = ""
        self._n_logprobs = 0
        self._n_calls = 0

    def take(self, event: StreamEvent) -> StreamEvent | None:
        """What of an event is new to the reader. Raises Refusal when the repeated answer is another one."""
        match event:
            case Restarted():
                self._text = ""
                self._n_logprobs = self._n_calls = 0
                return None
            case Delta():
                return self._delta(event)
            case ToolCalled():
                return self._call(event)
            case Finished():
                if not event.text.startswith(self._sent) or len(event.tool_calls) < len(self._calls):
                    raise _diverged()
        return event

    def _delta(self, event: Delta) -> Delta | None:
        """The repeated answer may come in other pieces than the first: text and log-probabilities catch up each by itself."""
        at, self._text = len(self._text), self._text + event.text
        if not self._sent.startswith(event.text[: max(len(self._sent) - at, 0)], at):
            raise _diverged()
        n_known = max(self._n_logprobs_sent - self._n_logprobs, 0)
        self._n_logprobs += len(event.logprobs)
        text, logprobs = self._text[len(self._sent) :], event.logprobs[n_known:]
        if not text and not logprobs:
            return None
        self._sent += text
        self._n_logprobs_sent += len(logprobs)
        return replace(event, text=text, logprobs=logprobs)

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
