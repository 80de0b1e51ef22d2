"""Turns the bytes of tokens into text that is safe to show: whole code points, cut at stop strings; pure."""

from __future__ import annotations

import codecs


class Utf8Stream:
    """Holds back the bytes of an unfinished code point; broken bytes become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete so far. A tail that never completes is dropped with the stream."""
        return self._decoder.decode(data)


class StopMatcher:
    """Lets text through up to the first stop string, also when it arrives in pieces."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.met: str | None = None  # the stop string that ended the text

    @property
    def hit(self) -> bool:
        """Whether the text has ended."""
        return self.met is not None

    def feed(self, text: str) -> str:
        """The part of the text that can't belong to a stop string; sets met when one is complete."""
        if self.hit:
            return ""
        self._held += text
        found = [(place, stop) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            place, self.met = min(found)
            passed, self._held = self._held[:place], ""
            return passed
        keep = self._undecided()
        passed, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return passed

    def flush(self) -> str:
        """The held text, when the model ended without completing a stop string."""
        passed, self._held = self._held, ""
        return passed

    def _undecided(self) -> int:
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0
