"""Puts together what several watchers tell of the same moment. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from agents.surroundings.core import Surroundings

PRESENCE_LASTS_S = 90.0  # the desktop tells every 30 s; what it told before it went away holds no longer
SUSTAINED_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What the desktop told about its user, and when on a clock that never goes back."""

    told_at_s: float
    idle_s: float | None = None
    full_screen: bool | None = None
    locked: bool | None = None


def with_presence(seen: Surroundings, presence: Presence | None, now_s: float) -> Surroundings:
    """The desktop knows idle time finer than the system does; of the rest, a yes from either counts."""
    if presence is None or now_s - presence.told_at_s > PRESENCE_LASTS_S:
        return seen
    idle_s = seen.idle_s
    if presence.idle_s is not None:
        idle_s = presence.idle_s + max(0.0, now_s - presence.told_at_s)
    return replace(
        seen,
        idle_s=idle_s,
        full_screen=_either(seen.full_screen, presence.full_screen),
        locked=_either(seen.locked, presence.locked),
    )


def _either(one: bool | None, other: bool | None) -> bool | None:
    if one is None or other is None:
        return other if one is None else one
    return one or other


class SustainedLoad:
    """The load that others held for the last 30 s: a shorter peak is nobody's concern."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque()  # from, to, mean load between

    def add(self, from_s: float, to_s: float, load: float) -> None:
        """The mean load between two moments; samples come in order."""
        if self._samples and from_s > self._samples[-1][1] + 1.0:
            self._samples.clear()  # nobody looked for a while, such as during sleep
        self._samples.append((from_s, to_s, load))
        while self._samples[0][1] <= to_s - SUSTAINED_S:
            self._samples.popleft()

    @property
    def lowest(self) -> float | None:
        """The lowest of the samples that make up the last 30 s; None while they are fewer."""
        if not self._samples or self._samples[-1][1] - self._samples[0][0] < SUSTAINED_S:
            return None
        return min(load for _, _, load in self._samples)


class IdlePeriods:
    """Finds the moment at which nobody has touched the computer for so long, once for each time that somebody goes away."""

    def __init__(self, *, now_s: float) -> None:
        self._began_at_s = now_s
        self._told_at_s: dict[float, float] = {}

    def passed(self, idle_s: float | None, thresholds_s: frozenset[float], now_s: float) -> list[float]:
        """The thresholds that were passed since the last look, the shortest first.

        One that was passed before this object was made is not told: an earlier runtime did, or nobody was armed.
        """
        for threshold_s in set(self._told_at_s) - thresholds_s:
            del self._told_at_s[threshold_s]
        if idle_s is None:
            return []
        touched_at_s = now_s - idle_s
        found = []
        for threshold_s in sorted(thresholds_s):
            told_at_s = self._told_at_s.get(threshold_s, self._began_at_s - threshold_s)
            # Not the touch itself is compared but whether it came after the telling: sources differ by some seconds.
            if idle_s >= threshold_s and touched_at_s >= told_at_s:
                self._told_at_s[threshold_s] = now_s
                found.append(threshold_s)
        return found
