"""Sequence ids are in exactly one place, and the kept one that was not used for longest goes first."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.schedule.slots import Slot, SlotPool, SlotState

N_IDS = 4


class Pool(RuleBasedStateMachine):
    """Ids taken, kept, touched, adopted and released in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SlotPool(N_IDS)
        self.running: list[Slot] = []
        self.kept: list[Slot] = []  # the least recently used first

    @rule()
    def acquire(self) -> None:
        slot = self.pool.acquire([1])
        if len(self.running) + len(self.kept) == N_IDS:
            assert slot is None
        else:
            assert slot is not None
            assert slot not in self.running + self.kept
            self.running.append(slot)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.running))
        self.pool.keep(slot, [1, 2])
        self.running.remove(slot)
        self.kept.append(slot)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.kept))
        self.pool.touch(slot)
        self.kept.append(self.kept.pop(self.kept.index(slot)))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.kept))
        assert self.pool.adopt(slot, [3]) is slot
        self.kept.remove(slot)
        self.running.append(slot)

    @precondition(lambda self: self.kept or self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.kept + self.running))
        self.pool.release(slot)
        (self.kept if slot in self.kept else self.running).remove(slot)
        assert slot.state is SlotState.FREE

    @invariant()
    def places_agree(self) -> None:
        self.pool.check_integrity()
        assert list(self.pool.kept()) == self.kept
        assert self.pool.oldest_kept() is (self.kept[0] if self.kept else None)
        assert set(self.pool.running()) == set(self.running)
        assert self.pool.n_free == N_IDS - len(self.kept) - len(self.running)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_slot_in_the_wrong_place_is_found() -> None:
    pool = SlotPool(2)
    slot = pool.acquire([])
    assert slot is not None
    slot.state = SlotState.KEPT
    with pytest.raises(RuntimeError, match="wrong place"):
        pool.check_integrity()
