"""New texts on their way to the runtime: the first of an answer leaves at once, later ones a few batches in one frame.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.messages import Text, Texts

# Forty times a second reads as a flow. Each frame wakes the runtime, and on two cores it does so in the middle of a step.
TELL_EVERY_S = 0.025


class Telling:
    """Holds texts back for a moment, in the order in which they came."""

    def __init__(self, send: Callable[[Texts], None], clock: Callable[[], float]) -> None:
        self._send = send
        self._clock = clock
        self._held: dict[str, Text] = {}
        self._told_at = clock()

    def add(self, text: Text, *, at_once: bool) -> None:
        """One answer goes on; at_once: somebody waits for just this."""
        held = self._held.get(text.id)
        self._held[text.id] = text if held is None else _joined(held, text)
        if at_once:
            self._told_at = float("-inf")

    def tell_if_due(self) -> None:
        """A batch is over: send what is held back if the last frame is long enough ago."""
        if self._held and self._clock() - self._told_at >= TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Send what is held back: an answer ends, or there is nothing more to do."""
        if self._held:
            texts, self._held = tuple(self._held.values()), {}
            self._send(Texts(items=texts))
        self._told_at = self._clock()


def _joined(first: Text, second: Text) -> Text:
    return Text(
        id=first.id,
        text=first.text + second.text,
        tokens=first.tokens + second.tokens,
        logprobs=first.logprobs + second.logprobs,
    )
