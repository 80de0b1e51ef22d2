"""Requests that wait for their turn: the highest priority first, then in order of arrival; pure."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from engine.core import Priority

Item = TypeVar("Item")


@dataclass(order=True)
class _Place(Generic[Item]):
    priority: Priority
    arrival: int
    item: Item = field(compare=False)


class WaitingLine(Generic[Item]):
    """A priority queue from which a waiting item can also leave."""

    def __init__(self) -> None:
        self._heap: list[_Place[Item]] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item, priority: Priority) -> None:
        """Stand in line."""
        heapq.heappush(self._heap, _Place(priority, next(self._arrivals), item))

    def pop(self) -> Item | None:
        """Whose turn it is; None when nobody waits."""
        return heapq.heappop(self._heap).item if self._heap else None

    def discard(self, item: Item) -> None:
        """Leave the line; nothing happens when the item is not in it."""
        self._heap = [place for place in self._heap if place.item is not item]
        heapq.heapify(self._heap)
