"""Sequences without a slot: lines by class and arrival, and those who wait for a prefix that another one computes; pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from engine.core import Priority
from engine.schedule.sequence import Sequence, Stage

SPARE_PLACES = 64  # of those who left, in a line whose head does not get on: each holds its tokens
_Place = tuple[int, int, Sequence]  # in a line: arrival, a number that no other place has, who


class WaitingRoom:
    """Who arrived or gave way, and has no slot now. Coming, leaving and looking at a head cost the same however many wait."""

    def __init__(self) -> None:
        self._all: set[Sequence] = set()
        self._lines: dict[Priority, list[_Place]] = {priority: [] for priority in Priority}
        self._places = itertools.count()
        self._followers: dict[Sequence, list[tuple[int, Sequence]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._all)

    def put(self, sequence: Sequence) -> None:
        """It waits in the line of its class, where its arrival places it."""
        self._all.add(sequence)
        self._stand_in_line(sequence)

    def leave(self, sequence: Sequence) -> None:
        """It waits no more; its places in lines are passed over, or cleared where they become many."""
        self._all.discard(sequence)
        line = self._lines[sequence.priority]
        if len(line) > 2 * len(self._all) + SPARE_PLACES:
            line[:] = [place for place in line if place[2] in self._all]
            heapq.heapify(line)

    def head(self, priority: Priority) -> Sequence | None:
        """The oldest of a class."""
        line = self._lines[priority]
        while line and line[0][2] not in self._all:
            heapq.heappop(line)
        return line[0][2] if line else None

    def heads(self) -> list[Sequence]:
        """The oldest of each class."""
        return [head for priority in Priority if (head := self.head(priority)) is not None]

    def follow(self, head: Sequence, leader: Sequence, n_tokens: int) -> None:
        """The head of a line steps out of it, until the leader has computed so many tokens or stops."""
        heapq.heappop(self._lines[head.priority])
        self._followers.setdefault(leader, []).append((n_tokens, head))

    def release_followers(self) -> bool:
        """Those who have what they waited for, or whose leader stopped, stand in line again. Whether anybody did."""
        released = False
        for leader in list(self._followers):
            still: list[tuple[int, Sequence]] = []
            for n_tokens, sequence in self._followers[leader]:
                if leader.stage is Stage.RUNNING and leader.n_computed < n_tokens:
                    still.append((n_tokens, sequence))
                elif sequence in self._all:
                    self._stand_in_line(sequence)
                    released = True
            if still:
                self._followers[leader] = still
            else:
                del self._followers[leader]
        return released

    def _stand_in_line(self, sequence: Sequence) -> None:
        heapq.heappush(self._lines[sequence.priority], (sequence.arrival, next(self._places), sequence))
