"""Which sequences live in the KV cache: ids, cells, shared prefixes, and states that are kept outside of it.

The books (schedule/slots.py, schedule/cells.py) and the native cache change together here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from engine.errors import EngineError
from engine.schedule.cells import CellLedger
from engine.schedule.sequence import PinPoint, Sequence, Stage, common_prefix
from engine.schedule.slots import Slot, SlotPool, SlotState
from engine.states.books import Tier
from engine.states.sealing import State
from engine.states.snapshots import SnapshotStore

MIN_KEPT = 16  # tokens; less is computed again in no time
MIN_SNAPSHOT = 16  # tokens; a state outside the cache costs a copy of some 23 kB a token
MAX_KEPT_CELLS = 256  # of prefixes that no running request shares
LARGEST_STATE_SHARE = 1 / 4  # of the store's RAM
MIN_GAIN = 8  # tokens that a state must bring beyond what is resident, to be worth copying


class SequenceMemory(Protocol):
    """The native cache, by sequence id; llama.runner has the real one."""

    def copy_prefix(self, source: int, target: int, n_tokens: int) -> None:
        """The empty target shares the first n tokens of the source."""

    def trim(self, seq_id: int, n_tokens: int) -> None:
        """Only the first n tokens stay. Never called for a model that can't rewind, but with 0."""

    def state_bytes(self, seq_id: int) -> int:
        """The size of the state of a sequence."""
        ...

    def save(self, seq_id: int) -> State:
        """The state of a sequence. Raises EngineError or MemoryError."""
        ...

    def restore(self, seq_id: int, data: State) -> bool:
        """Put a saved state into an empty sequence; False when that is not possible."""
        ...


@dataclass(kw_only=True)
class CacheTally:
    """Prompt tokens that needed no computing, by where they came from."""

    resident: int = 0
    ram: int = 0
    disk: int = 0
    swaps_out: int = 0
    swaps_in: int = 0


class KvCache:
    """n_cells cells and n_ids sequence ids, shared by running requests and kept prefixes."""

    def __init__(
        self,
        *,
        memory: SequenceMemory,
        snapshots: SnapshotStore,
        n_cells: int,
        n_ids: int,
        can_rewind: bool,
        max_kept_cells: int = MAX_KEPT_CELLS,
    ) -> None:
        self._memory = memory
        self._snapshots = snapshots
        self._can_rewind = can_rewind
        self._max_kept_cells = max_kept_cells
        self._slots = SlotPool(n_ids)
        self._cells = CellLedger(n_cells)
        self._token_bytes: float | None = None  # of a state, about
        self.tally = CacheTally()

    @property
    def can_rewind(self) -> bool:
        """Whether the end of a sequence can be taken back."""
        return self._can_rewind

    @property
    def n_cells(self) -> int:
        """The size of the cache in tokens."""
        return self._cells.n_cells

    @property
    def n_used(self) -> int:
        """Cells that hold something."""
        return self._cells.n_used

    @property
    def n_free(self) -> int:
        """Cells that hold nothing."""
        return self._cells.n_free

    def n_held(self, sequences: Iterable[Sequence]) -> int:
        """Cells that these running sequences hold together."""
        return self._cells.n_held([sequence.slot.seq_id for sequence in sequences if sequence.slot])

    def n_resident(self, sequence: Sequence) -> int:
        """Tokens of a waiting request that it would find in the cache, without the store."""
        found = self._best_resident(sequence.tokens, self._limit(sequence))
        return 0 if found is None else found[1]

    # -- beginning and ending ----------------------------------------------------------------------------

    def attach(self, sequence: Sequence, room: Callable[[int], bool]) -> bool:
        """Give a sequence an id and the longest prefix that is at hand. False when there is no id.

        room(n) is asked to make n cells free for a state from outside.
        """
        limit = self._limit(sequence)
        resident = self._best_resident(sequence.tokens, limit)
        n_resident = 0 if resident is None else resident[1]
        is_alone = not self._slots.n_running
        if is_alone:  # then its cells come first in the cache, and attention has the shortest way
            self._move_others(resident)
        slot = None
        if n_resident < limit:
            slot = self._from_store(sequence, limit, n_resident, room)
        if slot is None:
            # asked again: the search in the store may have evicted what was found
            slot = self._from_resident(sequence, self._best_resident(sequence.tokens, limit))
        if slot is None:
            return False
        if is_alone:
            self._move_others(None)
        sequence.slot = slot
        sequence.stage = Stage.RUNNING
        sequence.n_computed = self._cells.length(slot.seq_id)
        if sequence.n_cached is None:
            sequence.n_cached = min(sequence.n_computed, sequence.n_prompt)
        return True

    def end(self, sequence: Sequence) -> None:
        """A request is over; what it computed is kept for the next one that begins alike."""
        slot, sequence.slot = sequence.slot, None
        if sequence.stage is Stage.SWAPPED:
            self._snapshots.drop_parked(sequence.request_id)
        sequence.stage = Stage.ENDED
        if slot is None:
            return
        tokens = sequence.tokens[: sequence.n_computed]
        if len(tokens) < MIN_KEPT or not sequence.keeps:
            self._release(slot)
            return
        if self._can_rewind:  # what the new one continues is of no further use
            for other in list(self._slots.kept()):
                if common_prefix(other.tokens, tokens) == len(other.tokens):
                    self._release(other)
        self._slots.keep(slot, tokens)

    def park(self, sequence: Sequence) -> None:
        """A running sequence gives way: its state leaves the cache and comes back with unpark().

        If the state can't be had, as where memory is short, the sequence begins anew then.
        """
        slot, sequence.slot = sequence.slot, None
        assert slot is not None
        sequence.stage = Stage.SWAPPED
        if sequence.n_computed:
            state = self._state_of(slot)
            if state is None:
                sequence.n_computed = 0
            else:
                self._snapshots.park(sequence.request_id, sequence.tokens[: sequence.n_computed], state)
        self._release(slot)
        self.tally.swaps_out += 1

    def unpark(self, sequence: Sequence, room: Callable[[int], bool]) -> bool:
        """Bring a sequence back; what can't be restored is computed again. False when there is no room or no id."""
        if sequence.n_computed:
            if not room(sequence.n_computed):
                return False
            slot = self._new_slot(sequence.tokens)
            if slot is None:
                return False
            if self._restore(slot, lambda: self._snapshots.unpark(sequence.request_id)):
                self._cells.extend(slot.seq_id, sequence.n_computed)
                sequence.slot = slot
                sequence.stage = Stage.RUNNING
                self.tally.swaps_in += 1
                return True
            self._release(slot)
            sequence.n_computed = 0
        return self.attach(sequence, room)

    # -- growing and shrinking ---------------------------------------------------------------------------

    def make_room(self, n: int) -> bool:
        """Evict kept prefixes until n cells are free. False when that is not enough."""
        while self._cells.n_free < n:
            if not self._evict_oldest():
                return False
        return True

    def relieve(self) -> bool:
        """While others run: move one kept prefix to the store, if they hold more cells than they should.

        Attention goes over all cells up to the last one that is held, by whomever: 7,000 kept ones made a token take
        44 % longer (one thread, built-in model). To save 3,000 tokens takes 27 ms, to bring them back 4.
        """
        return self._n_kept_only() > self._max_kept_cells and self.tidy()

    def tidy(self) -> bool:
        """Move one kept prefix to the store; what that could hardly hold stays. False: there is none to move."""
        slot = next((slot for slot in self._slots.kept() if self._may_move(slot)), None)
        if slot is not None:
            self._evict(slot)
        return slot is not None

    @property
    def is_tidy(self) -> bool:
        """Whether there is no kept prefix to move."""
        return not any(map(self._may_move, self._slots.kept()))

    def evict_all_kept(self) -> bool:
        """Evict all kept prefixes. False when there was none."""
        any_evicted = False
        while self._evict_oldest():
            any_evicted = True
        return any_evicted

    def grow(self, sequence: Sequence, n: int) -> None:
        """The next n tokens of a running sequence are about to be computed."""
        assert sequence.slot is not None
        self._cells.extend(sequence.slot.seq_id, n)

    def undo_growth(self, sequence: Sequence) -> None:
        """The batch was not computed: llama.cpp has taken its cells back already."""
        if sequence.slot is not None:
            self._cells.trim(sequence.slot.seq_id, sequence.n_computed)

    def void(self, sequence: Sequence) -> None:
        """A batch was not computed by a model that can't rewind: its state is of no use, nothing of it is computed."""
        slot, sequence.slot = sequence.slot, None
        sequence.stage = Stage.WAITING
        sequence.n_computed = 0
        if slot is not None:
            self._release(slot)

    def rewind(self, sequence: Sequence) -> None:
        """Take back cells beyond n_computed that were computed for guesses that did not stand."""
        assert sequence.slot is not None
        self._memory.trim(sequence.slot.seq_id, sequence.n_computed)
        self._cells.trim(sequence.slot.seq_id, sequence.n_computed)

    # -- pinned prefixes ---------------------------------------------------------------------------------

    def pin_if_reached(self, sequence: Sequence) -> None:
        """Store the state under its name, when exactly the pinned prefix is computed and not stored yet."""
        pin = sequence.pin
        if pin is None or sequence.n_computed != pin.n_tokens or sequence.slot is None:
            return
        if self._is_missing(sequence, pin):
            state = self._state_of(sequence.slot)
            if state is not None:
                self._snapshots.put(sequence.tokens[: pin.n_tokens], state, pin=pin.name)

    def forget_alike(self, tokens: list[int]) -> None:
        """Evict kept prefixes that begin with these tokens, or hold only a part of them, without storing them."""
        for slot in list(self._slots.kept()):
            if common_prefix(slot.tokens, tokens) == min(len(slot.tokens), len(tokens)):
                self._release(slot)

    def check_integrity(self) -> None:
        """Raise if the books contradict each other; that would be a bug."""
        self._slots.check_integrity()
        self._cells.check_integrity()
        for slot in self._slots.kept():
            if self._cells.length(slot.seq_id) != len(slot.tokens):
                raise RuntimeError("a kept slot holds another number of cells than of tokens")

    # -- inside --------------------------------------------------------------------------------------------

    def _state_of(self, slot: Slot) -> State | None:
        """The state of a sequence; None when it can't be had now: it only spares work, and nobody is to fail for it."""
        try:
            return self._memory.save(slot.seq_id)
        except (EngineError, MemoryError):
            return None

    def _restore(self, slot: Slot, read: Callable[[], State | None]) -> bool:
        """Put a stored state into an empty sequence. False when that can't be done now: its tokens are computed again."""
        try:
            state = read()
            return state is not None and self._memory.restore(slot.seq_id, state)
        except MemoryError:
            return False

    def _may_move(self, slot: Slot) -> bool:
        """Whether the store can take a kept prefix without dropping most of what it has."""
        if self._token_bytes is None:
            self._token_bytes = self._memory.state_bytes(slot.seq_id) / len(slot.tokens)
        size_bytes = self._token_bytes * len(slot.tokens)
        return size_bytes <= self._snapshots.ram_limit_bytes * LARGEST_STATE_SHARE

    def _move_others(self, resident: tuple[Slot, int] | None) -> None:
        """Move the kept prefixes that have cells of their own, but the one that is needed now."""
        for slot in list(self._slots.kept()):
            is_needed = resident is not None and slot is resident[0]
            if not is_needed and self._cells.n_exclusive(slot.seq_id) and self._may_move(slot):
                self._evict(slot)

    def _limit(self, sequence: Sequence) -> int:
        """How much may come from elsewhere: the last token's logits are wanted, and a pin must be met exactly."""
        limit = len(sequence.tokens) - 1
        pin = sequence.pin
        if pin is not None and pin.n_tokens < limit and self._is_missing(sequence, pin):
            return pin.n_tokens
        return limit

    def _is_missing(self, sequence: Sequence, pin: PinPoint) -> bool:
        return not self._snapshots.is_pinned(sequence.tokens[: pin.n_tokens], pin.name)

    def _best_resident(self, tokens: list[int], limit: int) -> tuple[Slot, int] | None:
        """The slot that shares most with the tokens, and how many."""
        best: tuple[Slot, int] | None = None
        for slot in (*self._slots.running(), *self._slots.kept()):
            held = self._cells.length(slot.seq_id)
            n = common_prefix(slot.tokens, tokens, min(limit, held))
            if not self._can_rewind and (slot.state is not SlotState.KEPT or n < held):
                continue
            if n >= MIN_KEPT and (best is None or n > best[1]):
                best = slot, n
        return best

    def _from_resident(self, sequence: Sequence, resident: tuple[Slot, int] | None) -> Slot | None:
        if resident is None:
            return self._new_slot(sequence.tokens)
        source, n = resident
        slot: Slot | None = None
        if self._can_rewind:
            self._slots.touch(source)
            slot = self._new_slot(sequence.tokens, spare=source)
            if slot is not None:
                self._memory.copy_prefix(source.seq_id, slot.seq_id, n)
                self._cells.fork(source.seq_id, slot.seq_id, n)
        if not self._can_rewind or (slot is None and source.state is SlotState.KEPT):
            slot = self._slots.adopt(source, sequence.tokens)
            if n < self._cells.length(slot.seq_id):
                self._memory.trim(slot.seq_id, n)
                self._cells.trim(slot.seq_id, n)
        if slot is not None:
            self.tally.resident += n
        return slot

    def _from_store(
        self, sequence: Sequence, limit: int, n_resident: int, room: Callable[[int], bool]
    ) -> Slot | None:
        hit = self._snapshots.find(sequence.tokens[:limit])
        if hit is None or hit.n_tokens < n_resident + MIN_GAIN or not room(hit.n_state_tokens):
            return None
        slot = self._new_slot(sequence.tokens)
        if slot is None:
            return None
        if not self._restore(slot, hit.read):
            self._release(slot)
            return None
        self._cells.extend(slot.seq_id, hit.n_state_tokens)
        if hit.n_tokens < hit.n_state_tokens:
            self._memory.trim(slot.seq_id, hit.n_tokens)
            self._cells.trim(slot.seq_id, hit.n_tokens)
        if hit.tier is Tier.DISK:
            self.tally.disk += hit.n_tokens
        else:
            self.tally.ram += hit.n_tokens
        return slot

    def _new_slot(self, tokens: list[int], spare: Slot | None = None) -> Slot | None:
        """An id that holds nothing; the oldest kept prefix gives its own, if it is not the spared one."""
        if not self._slots.n_free:
            oldest = next((slot for slot in self._slots.kept() if slot is not spare), None)
            if oldest is not None:
                self._evict(oldest)
        return self._slots.acquire(tokens)

    def _n_kept_only(self) -> int:
        """Cells that no running sequence holds."""
        return self._cells.n_used - self._cells.n_held([slot.seq_id for slot in self._slots.running()])

    def _evict_oldest(self) -> bool:
        oldest = self._slots.oldest_kept()
        if oldest is None:
            return False
        self._evict(oldest)
        return True

    def _evict(self, slot: Slot) -> None:
        """A kept prefix leaves the cache; it stays at hand in the store if no other slot holds most of it."""
        if (
            len(slot.tokens) >= MIN_SNAPSHOT
            and not self._is_held_elsewhere(slot)
            and not self._is_stored(slot)
        ):
            state = self._state_of(slot)
            if state is not None:
                self._snapshots.put(slot.tokens, state)
        self._release(slot)

    def _is_held_elsewhere(self, slot: Slot) -> bool:
        if not self._can_rewind:
            return False
        enough = len(slot.tokens) - MIN_GAIN
        return any(
            common_prefix(other.tokens, slot.tokens, self._cells.length(other.seq_id)) >= enough
            for other in (*self._slots.running(), *self._slots.kept())
            if other is not slot
        )

    def _is_stored(self, slot: Slot) -> bool:
        hit = self._snapshots.find(slot.tokens)
        enough = len(slot.tokens) - (MIN_GAIN if self._can_rewind else 0)
        return hit is not None and hit.n_tokens >= enough

    def _release(self, slot: Slot) -> None:
        self._memory.trim(slot.seq_id, 0)
        self._cells.drop(slot.seq_id)
        self._slots.release(slot)
