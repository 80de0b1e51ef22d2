"""The sequence ids of the context: free, running, or kept with the prompt of a finished request; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class SlotState(StrEnum):
    """What a sequence id is used for."""

    FREE = "free"
    RUNNING = "running"  # a request is computed there
    KEPT = "kept"  # what a finished request left, for the next one that begins alike; may be evicted


@dataclass(kw_only=True, eq=False)
class Slot:
    """One sequence id. tokens are those whose state the cells hold; a running slot shares its request's list."""

    seq_id: int
    state: SlotState = SlotState.FREE
    tokens: list[int] = field(default_factory=list, repr=False)


class SlotPool:
    """All sequence ids. A plain dict in order of use is the least-recently-used list."""

    def __init__(self, n_ids: int) -> None:
        self.n_ids = n_ids
        self._free = [Slot(seq_id=seq_id) for seq_id in reversed(range(n_ids))]
        self._running: dict[int, Slot] = {}
        self._kept: dict[int, Slot] = {}

    @property
    def n_free(self) -> int:
        """Ids that hold nothing."""
        return len(self._free)

    @property
    def n_running(self) -> int:
        """Ids of requests in work."""
        return len(self._running)

    def kept(self) -> Iterator[Slot]:
        """Kept slots, the least recently used first."""
        return iter(self._kept.values())

    def running(self) -> Iterator[Slot]:
        """Running slots."""
        return iter(self._running.values())

    def oldest_kept(self) -> Slot | None:
        """The kept slot that was not used for longest."""
        return next(iter(self._kept.values()), None)

    def acquire(self, tokens: list[int]) -> Slot | None:
        """A free id for a request; None when there is none."""
        if not self._free:
            return None
        slot = self._free.pop()
        slot.tokens = tokens
        return self._run(slot)

    def adopt(self, slot: Slot, tokens: list[int]) -> Slot:
        """A request goes on where a kept one ended, in its place."""
        del self._kept[slot.seq_id]
        slot.tokens = tokens
        return self._run(slot)

    def touch(self, slot: Slot) -> None:
        """A kept slot was useful: it is evicted later."""
        if self._kept.pop(slot.seq_id, None) is not None:
            self._kept[slot.seq_id] = slot

    def keep(self, slot: Slot, tokens: list[int]) -> None:
        """A request ended; its cells stay as they are."""
        del self._running[slot.seq_id]
        slot.state = SlotState.KEPT
        slot.tokens = tokens
        self._kept[slot.seq_id] = slot

    def release(self, slot: Slot) -> None:
        """The id holds nothing any more."""
        (self._running if slot.state is SlotState.RUNNING else self._kept).pop(slot.seq_id)
        slot.state = SlotState.FREE
        slot.tokens = []
        self._free.append(slot)

    def check_integrity(self) -> None:
        """Raise if an id is in two places or in none; that would be a bug."""
        ids = [slot.seq_id for slot in self._free] + list(self._running) + list(self._kept)
        if sorted(ids) != list(range(self.n_ids)):
            raise RuntimeError(f"the sequence ids are not all in one place: {sorted(ids)} of {self.n_ids}")
        places = (
            (SlotState.FREE, self._free),
            (SlotState.RUNNING, self.running()),
            (SlotState.KEPT, self.kept()),
        )
        if any(slot.state is not state for state, slots in places for slot in slots):
            raise RuntimeError("a slot is in the wrong place")

    def _run(self, slot: Slot) -> Slot:
        slot.state = SlotState.RUNNING
        self._running[slot.seq_id] = slot
        return slot
