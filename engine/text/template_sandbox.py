"""Where a stranger's template runs: jinja2's immutable sandbox, and limits on what it may take.

Runs in: engine child, engine thread only. The sandbox bounds neither time nor memory, and a signal waits for the end of
the native operation at hand: so what one operation may take is limited too, by its operands and by the system.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_REPEATED = 1_000_000  # elements that a multiplication may make
MAX_BITS = 1024  # of a number that is multiplied
MAX_EXPONENT = 64
REMIND_EVERY_S = 0.1
MEMORY_BYTES = 512 * 1024 * 1024  # so much more than before


class TooSlow(BaseException):
    """The time is up. No Exception: jinja2 swallows those while it computes constants."""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of a chat template; products and powers that would take too much are refused."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute a product or a power. Raises SecurityError."""
        if operator == "**":
            fits = _is_small(left) and isinstance(right, int | float) and abs(right) <= MAX_EXPONENT
        elif isinstance(left, Sized) or isinstance(right, Sized):
            fits = _n_repeated(left, right) <= MAX_REPEATED
        else:
            fits = _is_small(left) and _is_small(right)
        if not fits:
            raise SecurityError("the result would be too large")
        return super().call_binop(context, operator, left, right)


@contextmanager
def limits(time_limit_s: float) -> Iterator[None]:
    """Raises TooSlow or MemoryError inside, where the system knows how to; from the main thread only."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return

    inside = True

    def out_of_time(_number: int, _frame: FrameType | None) -> None:
        if inside:
            raise TooSlow

    before = signal.signal(signal.SIGALRM, out_of_time)
    try:
        with _memory_limit():
            # again and again: an exception that comes while the interpreter collects garbage is lost
            signal.setitimer(signal.ITIMER_REAL, time_limit_s, REMIND_EVERY_S)
            yield
    finally:
        inside = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory_limit() -> Iterator[None]:
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    wanted = data_pages * resource.getpagesize() + MEMORY_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY and soft <= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _is_small(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= MAX_BITS)


def _n_repeated(left: object, right: object) -> int:
    """How many elements a repeated text or list has; what is no such product is left to fail by itself."""
    sized, times = (left, right) if isinstance(left, Sized) else (right, left)
    if not isinstance(sized, Sized) or not isinstance(times, int):
        return 0
    return len(sized) * times
