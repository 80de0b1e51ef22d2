"""Counts the cells of the KV cache that sequences hold and share; pure, and exact like llama.cpp's own table.

A copied prefix costs nothing: both sequences refer to the same cells, which are free again when the last of them lets
go. Here a sequence is a chain of segments, and a segment knows its holders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(kw_only=True, eq=False)
class _Segment:
    """Neighbouring cells that are held by exactly the same sequences."""

    size: int
    holders: set[int] = field(default_factory=set)


class CellLedger:
    """Who holds which of n_cells cells. Sequences are named by their seq_id."""

    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells
        self.n_used = 0
        self._chains: dict[int, list[_Segment]] = {}

    @property
    def n_free(self) -> int:
        """Cells that hold nothing."""
        return self.n_cells - self.n_used

    def length(self, seq_id: int) -> int:
        """Cells that the sequence holds, shared ones included."""
        return sum(segment.size for segment in self._chains.get(seq_id, ()))

    def n_exclusive(self, seq_id: int) -> int:
        """Cells that would be free if the sequence were dropped."""
        return sum(segment.size for segment in self._chains.get(seq_id, ()) if len(segment.holders) == 1)

    def n_held(self, seq_ids: Iterable[int]) -> int:
        """Cells that at least one of the sequences holds."""
        held = {segment: segment.size for seq_id in seq_ids for segment in self._chains.get(seq_id, ())}
        return sum(held.values())

    def extend(self, seq_id: int, n: int) -> None:
        """The sequence takes n more cells of its own. The caller made sure of the room."""
        if not 0 <= n <= self.n_free:
            raise RuntimeError(f"{n} cells are asked for and {self.n_free} are free")
        if n == 0:
            return
        self.n_used += n
        chain = self._chains.setdefault(seq_id, [])
        if chain and len(chain[-1].holders) == 1:
            chain[-1].size += n
        else:
            chain.append(_Segment(size=n, holders={seq_id}))

    def fork(self, source: int, target: int, n: int) -> None:
        """The target, which holds nothing, shares the first n cells of the source."""
        if self._chains.get(target):
            raise RuntimeError("the target of a fork holds cells already")
        if n > self.length(source):
            raise RuntimeError(f"{n} cells can't be shared of {self.length(source)}")
        if n == 0:
            return
        count = self._split(source, n)
        shared = self._chains[source][:count]
        for segment in shared:
            segment.holders.add(target)
        self._chains[target] = shared

    def trim(self, seq_id: int, n: int) -> None:
        """The sequence keeps its first n cells and lets go of the rest."""
        if n >= self.length(seq_id):
            return
        count = self._split(seq_id, n)
        chain = self._chains[seq_id]
        for segment in chain[count:]:
            self._let_go(segment, seq_id)
        del chain[count:]
        if not chain:
            del self._chains[seq_id]

    def drop(self, seq_id: int) -> None:
        """The sequence lets go of everything."""
        self.trim(seq_id, 0)

    def check_integrity(self) -> None:
        """Raise if the books contradict themselves; that would be a bug, not bad input."""
        held = {id(segment): segment for chain in self._chains.values() for segment in chain}
        total = sum(segment.size for segment in held.values())
        if total != self.n_used or not 0 <= self.n_used <= self.n_cells:
            raise RuntimeError(f"{total} cells are held and {self.n_used} are counted of {self.n_cells}")
        for segment in held.values():
            holders = {seq_id for seq_id, chain in self._chains.items() if segment in chain}
            if holders != segment.holders or segment.size <= 0:
                raise RuntimeError("a segment's holders contradict the chains")

    def _split(self, seq_id: int, n: int) -> int:
        """Cut where the first n cells end, for every holder; returns how many segments come before the cut."""
        count, left = 0, n
        for segment in self._chains[seq_id]:
            if left < segment.size:
                break
            left -= segment.size
            count += 1
        if left:
            segment = self._chains[seq_id][count]
            tail = _Segment(size=segment.size - left, holders=set(segment.holders))
            segment.size = left
            for holder in segment.holders:
                chain = self._chains[holder]
                chain.insert(chain.index(segment) + 1, tail)
            count += 1
        return count

    def _let_go(self, segment: _Segment, seq_id: int) -> None:
        segment.holders.discard(seq_id)
        if not segment.holders:
            self.n_used -= segment.size
