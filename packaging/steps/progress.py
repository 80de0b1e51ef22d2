"""Turns a compiler's long output into one line that a person can read: how far, how long, how much is left."""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

_COUNTER = re.compile(r"^\s*\[(\d+)/(\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many of how many build steps are done."""

    done: int
    total: int

    @property
    def percent(self) -> int:
        """Whole percent, 0 to 100."""
        return 100 * self.done // self.total


def parse_count(line: str) -> Count | None:
    """Read ninja's `[n/m]` at the start of a line; None for every other line."""
    match = _COUNTER.match(line)
    if match is None:
        return None
    done, total = int(match[1]), int(match[2])
    return Count(done=done, total=total) if total > 0 and done <= total else None


def in_words(seconds: float) -> str:
    """A duration in words that do not pretend to be exact."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def remaining_s(count: Count, elapsed_s: float) -> float | None:
    """A rough guess of the seconds left, None while there is too little to guess from."""
    if count.done < 3 or elapsed_s < 5:
        return None
    return elapsed_s / count.done * (count.total - count.done)


class ProgressLine:
    """Shows one step's progress: one line that changes on a terminal, a line every few seconds elsewhere."""

    def __init__(
        self,
        title: str,
        *,
        out: TextIO = sys.stdout,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = 10.0,
    ) -> None:
        self._title = title
        self._out = out
        self._clock = clock
        self._terminal = out.isatty()
        self._every_s = 0.2 if self._terminal else every_s
        self._started = clock()
        self._shown = float("-inf")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the step began."""
        return self._clock() - self._started

    def feed(self, line: str) -> None:
        """Take one line of the build's output and show the progress if it is time to."""
        count = parse_count(line)
        if count is not None and self._clock() - self._shown >= self._every_s:
            self._shown = self._clock()
            self._write(self._describe(count))

    def finish(self, text: str) -> None:
        """End the step with a last line."""
        self._write(f"{self._title}: {text}")
        if self._terminal:
            self._out.write("\n")
            self._out.flush()

    def _describe(self, count: Count) -> str:
        elapsed_s = self.elapsed_s
        left_s = remaining_s(count, elapsed_s)
        left = "" if left_s is None else f", about {in_words(left_s)} left"
        return f"{self._title}: {count.percent:3d} %, {in_words(elapsed_s)} so far{left}"

    def _write(self, text: str) -> None:
        self._out.write(f"\r\x1b[2K  {text}" if self._terminal else f"  {text}\n")
        self._out.flush()
