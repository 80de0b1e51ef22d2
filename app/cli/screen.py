"""A calm place to show work that goes on: lines that stay, and on a terminal one last line that is written over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from app.cli.output import columns_of, cut, one_line, printable

# Where nothing can be written over (a CI log), a hint becomes a line now and then.
LOG_INTERVAL_S = 5.0
_REDRAW_INTERVAL_S = 0.1


class Screen:
    """Writes to one stream. `log_hints` keeps a log without a terminal alive with a hint every few seconds."""

    def __init__(
        self, stream: TextIO, *, log_hints: bool = False, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._log_hints = log_hints
        self._monotonic = monotonic
        self._hint_columns = 0
        self._last_hint_at = monotonic()

    def line(self, text: str = "") -> None:
        """A line that stays."""
        self.clear()
        self._stream.write(printable(text) + "\n")
        self._stream.flush()
        self._last_hint_at = self._monotonic()

    def hint(self, text: str) -> None:
        """What is going on right now; shown on a terminal until something else is."""
        now = self._monotonic()
        since = now - self._last_hint_at
        if self._live:
            if self._hint_columns and since < _REDRAW_INTERVAL_S:
                return
            shown = cut(one_line(text), shutil.get_terminal_size().columns - 1)
            self.clear()
            self._stream.write(shown)
            self._hint_columns = columns_of(shown)
        elif self._log_hints and since >= LOG_INTERVAL_S:
            self._stream.write(printable(text) + "\n")
        else:
            return
        self._stream.flush()
        self._last_hint_at = now

    def clear(self) -> None:
        """Takes the hint away."""
        if self._hint_columns:
            self._stream.write("\r" + " " * self._hint_columns + "\r")
            self._stream.flush()
            self._hint_columns = 0
