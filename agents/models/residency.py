"""Which models stay in memory and which make room; pure, with the time passed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DUE_MARGIN = 2.0  # a run is near when it begins within so many reloads


@dataclass(frozen=True, kw_only=True)
class Residency:
    """How long and how much models may lie in memory."""

    memory_bytes: int  # of all models together
    idle_s: float = 15 * 60.0
    unload_default: bool = False  # let go of the default model too when it is idle


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A model in memory."""

    key: str
    memory_bytes: int
    idle_s: float  # since it was used last
    in_use: bool
    is_default: bool
    reload_s: float  # how long it took to load
    due_s: float | None  # until a scheduled run needs it

    @property
    def is_due(self) -> bool:
        """Whether a run needs it sooner than unloading and loading it again would be worth it."""
        return self.due_s is not None and self.due_s <= self.reload_s * DUE_MARGIN


def idle_ones(residents: Iterable[Resident], residency: Residency) -> list[str]:
    """The models that nobody used for so long that they go."""
    return [
        each.key
        for each in residents
        if not each.in_use
        and not each.is_due
        and each.idle_s >= residency.idle_s
        and (not each.is_default or residency.unload_default)
    ]


def to_make_room(residents: Iterable[Resident], needed_bytes: int, residency: Residency) -> list[str]:
    """The models that go so that another one of the given size fits: least recently used first.

    Before the default model go the others, and before one that a run is about to need goes the default one. What is in use
    stays: then the new model is tried all the same, and its engine refuses it where it would make the machine swap.
    """
    residents = list(residents)
    excess_bytes = sum(each.memory_bytes for each in residents) + needed_bytes - residency.memory_bytes
    leaving: list[str] = []
    free = (each for each in residents if not each.in_use)
    for each in sorted(free, key=lambda each: (each.is_due, each.is_default, -each.idle_s)):
        if excess_bytes <= 0:
            break
        leaving.append(each.key)
        excess_bytes -= each.memory_bytes
    return leaving
