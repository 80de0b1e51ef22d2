"""The nouns of the benchmark: one row of the result, its goal, and how much is measured; no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


class BenchFailed(Exception):
    """A measurement can't be taken; str() is one sentence for the person who asked for it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result. No other program is compared with: each goal is a greatest value."""

    name: str
    meaning: str  # one line for somebody who sees this for the first time
    unit: str
    samples: Sequence[float] = field(repr=False)
    max_ours: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def ours(self) -> float | None:
        return median(self.samples) if self.samples else None

    @property
    def met(self) -> bool | None:
        """None without a goal."""
        if self.max_ours is None or self.ours is None:
            return None
        return self.ours <= self.max_ours

    @property
    def goal(self) -> str | None:
        return None if self.max_ours is None else f"ours <= {self.max_ours:g}"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    agents: int = 1_000
    dues_per_day: int = 10_000
    day_hours: float = 24.0  # of the virtual day
    burst: int = 1_000
    old_runs: int = 100_000
    idle_agents: int = 100
    idle_s: float = 60.0
    starts: int = 3
    pages: int = 30


def full_scale() -> Scale:
    """What goals are judged by."""
    return Scale()


def quick_scale() -> Scale:
    """The same loads, shorter."""
    return Scale(day_hours=2.0, idle_s=15.0, starts=1, pages=10)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed."""
    in_order = sorted(values)
    return in_order[max(0, math.ceil(share * len(in_order)) - 1)]
