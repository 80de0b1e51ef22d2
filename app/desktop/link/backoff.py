"""How long to wait before the next try, and when to stop trying. Pure."""

from __future__ import annotations

from collections import deque

DELAYS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Backoff:
    """Delays that grow with each failure and begin anew after a success."""

    def __init__(self, delays_s: tuple[float, ...] = DELAYS_S) -> None:
        self._delays_s = delays_s
        self.failures = 0

    def next_delay_s(self) -> float:
        delay_s = self._delays_s[min(self.failures, len(self._delays_s) - 1)]
        self.failures += 1
        return delay_s

    def reset(self) -> None:
        self.failures = 0


class StartLimit:
    """Refuses to start the runtime again when it ended too often: a crash loop helps nobody."""

    def __init__(self, *, starts: int = 4, within_s: float = 300.0) -> None:
        self._starts = starts
        self._within_s = within_s
        self._times_s: deque[float] = deque()

    def may_start(self, now_s: float) -> bool:
        """True, and counted, unless the last `starts` starts all lie within the window."""
        while self._times_s and now_s - self._times_s[0] > self._within_s:
            self._times_s.popleft()
        if len(self._times_s) >= self._starts:
            return False
        self._times_s.append(now_s)
        return True

    def forget(self) -> None:
        """The user asked to try again."""
        self._times_s.clear()
