"""The books of the snapshot store: which states there are, where each lies, and who wants it; no I/O.

Runs in: wherever the store's lock is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from engine.states.prefix_index import PrefixIndex
from engine.states.sealing import State
from engine.states.spill import Spilled


class Tier(StrEnum):
    """Where a state comes from."""

    RAM = "ram"
    DISK = "disk"


@dataclass(eq=False, kw_only=True, slots=True)
class Record:
    """One state and all the places where it lies. One that lies nowhere is dropped."""

    key: bytes = field(repr=False)
    size_bytes: int
    parked: str | None = None  # the request that it is owed to
    data: State | None = field(default=None, repr=False)
    spilled: Spilled | None = None
    pins: set[str] = field(default_factory=set)
    saved: set[str] = field(default_factory=set)  # pins whose file is in order
    saving: set[str] = field(default_factory=set)  # pins whose file is to be written
    leaving: object | None = None  # stands for the job that moves it out of RAM
    refused: bool = False  # the disk did not take it: not offered again

    @property
    def tier(self) -> Tier | None:
        """The nearest place; None when there is none."""
        if self.data is not None:
            return Tier.RAM
        return Tier.DISK if self.spilled is not None or self.saved else None

    @property
    def is_cached(self) -> bool:
        """Whether it may be dropped."""
        return self.parked is None


class Books:
    """Changes every count together with what it counts. `free` gives the room of a spilled state back."""

    def __init__(self, free: Callable[[Spilled], None]) -> None:
        self.index: PrefixIndex[Record] = PrefixIndex()
        self.pins: dict[str, Record] = {}
        self.parked: dict[str, Record] = {}
        self.ram_bytes = 0
        self.leaving_bytes = 0
        self._by_use: dict[Record, None] = {}  # least recently used first
        self._free = free

    def __iter__(self) -> Iterator[Record]:
        """All records, the least recently used first."""
        return iter(self._by_use)

    def __contains__(self, record: Record) -> bool:
        return record in self._by_use

    def cached_at(self, key: bytes) -> Record | None:
        """The cached state of exactly these tokens."""
        return next((record for record in self.index.at(key) if record.is_cached), None)

    def add(self, record: Record) -> Record:
        """Know a new state."""
        self.index.add(record.key, record)
        self._by_use[record] = None
        if record.parked is not None:
            self.parked[record.parked] = record
        return record

    def drop(self, record: Record) -> None:
        """Know a state no more. Its files are not touched."""
        self.let_go_of_ram(record)
        self.free_spilled(record)
        for pin in record.pins:
            del self.pins[pin]
        for named in (record.pins, record.saved, record.saving):
            named.clear()
        if record.parked is not None:
            del self.parked[record.parked]
        self.index.remove(record.key, record)
        del self._by_use[record]

    def drop_if_nowhere(self, record: Record) -> None:
        """Drop a state that has lost its last place."""
        if record.tier is None:
            self.drop(record)

    def touch(self, record: Record) -> None:
        """Count a state as used just now; it does not leave RAM any more."""
        self._by_use[record] = self._by_use.pop(record)
        self.stop_leaving(record)

    def pin(self, record: Record, pin: str) -> bool:
        """Let a name stand for this state. True when it stood for another one, which it names no more."""
        former = self.pins.get(pin)
        if former is record:
            return False
        if former is not None:
            self.unpin(former, pin)
        self.pins[pin] = record
        record.pins.add(pin)
        return former is not None

    def unpin(self, record: Record, pin: str) -> None:
        """A state that nobody names any more is dropped: its name has another text now, or its source is gone."""
        del self.pins[pin]
        for named in (record.pins, record.saved, record.saving):
            named.discard(pin)
        if not record.pins:
            self.drop(record)

    def take_into_ram(self, record: Record, data: State) -> None:
        """Hold the data of a state that had none in RAM."""
        record.data, record.size_bytes = data, len(data)
        self.ram_bytes += record.size_bytes

    def let_go_of_ram(self, record: Record) -> None:
        """Hold the data no more."""
        self.stop_leaving(record)
        if record.data is not None:
            record.data = None
            self.ram_bytes -= record.size_bytes

    def start_leaving(self, record: Record) -> object:
        """The data is on its way out of RAM; the result stands for this way."""
        record.leaving = object()
        self.leaving_bytes += record.size_bytes
        return record.leaving

    def stop_leaving(self, record: Record) -> None:
        """The data has left, or stays after all."""
        if record.leaving is not None:
            record.leaving = None
            self.leaving_bytes -= record.size_bytes

    def free_spilled(self, record: Record) -> None:
        """Give the state's room in the spill file to others."""
        if record.spilled is not None:
            self._free(record.spilled)
            record.spilled = None

    def check_integrity(self) -> None:
        """Raises RuntimeError when the books contradict each other."""
        held = [record for record in self if record.data is not None]
        truths = {
            "every state lies somewhere": all(record.tier is not None for record in self),
            "every state is in the index": sorted(map(id, self.index)) == sorted(map(id, self)),
            "pins": self.pins == {pin: record for record in self for pin in record.pins},
            "parked": self.parked == {record.parked: record for record in self if record.parked is not None},
            "bytes in RAM": self.ram_bytes == sum(record.size_bytes for record in held),
            "bytes that leave": self.leaving_bytes
            == sum(record.size_bytes for record in held if record.leaving is not None),
            "only pinned states have files": all(
                record.saved | record.saving <= record.pins and not record.saved & record.saving
                for record in self
            ),
        }
        wrong = [name for name, is_true in truths.items() if not is_true]
        if wrong:
            raise RuntimeError(f"the books of the snapshots are inconsistent: {', '.join(wrong)}")
