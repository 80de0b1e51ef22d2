"""Tells whether something still lives: it counts its beats, and somebody else watches the count. Pure, without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass


class Heartbeat:
    """Counts. One thread beats, any thread reads."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def beat(self) -> None:
        self._count += 1


@dataclass(kw_only=True)
class Vigil:
    """For how long a count has not moved, in time during which its watcher was awake.

    A process that was stopped (SIGSTOP, a sleeping machine) stops its watcher too. When both go on, the time in between is nobody's
    fault: of any pause between two looks, at most `longest_look_s` counts.
    """

    longest_look_s: float
    still_s: float = 0.0
    _count: int = -1

    def look(self, count: int, elapsed_s: float) -> float:
        """Takes the count as it is now and the time since the look before; returns for how long it has been still."""
        if count != self._count:
            self._count = count
            self.still_s = 0.0
        else:
            self.still_s += min(max(elapsed_s, 0.0), self.longest_look_s)
        return self.still_s

    def reset(self) -> None:
        """Begins to count anew, for something that was just restarted."""
        self.still_s = 0.0
