"""Lines of those who wait: whoever left is held no longer than needed."""

import weakref

from engine.core import Priority
from engine.schedule.sequence import Sequence
from engine.schedule.waiting_room import SPARE_PLACES, WaitingRoom


def waiting(number: int) -> Sequence:
    return Sequence(
        request_id=str(number), tokens=[1], n_prompt=1, priority=Priority.BACKGROUND, arrival=number
    )


def test_a_line_that_does_not_get_on_does_not_keep_those_who_left_it() -> None:
    room = WaitingRoom()
    first, second = waiting(0), waiting(1)
    room.put(first)
    room.put(second)
    left = []
    for number in range(2, 1000):
        passer_by = waiting(number)
        room.put(passer_by)
        room.leave(passer_by)
        left.append(weakref.ref(passer_by))
    del passer_by
    assert sum(reference() is not None for reference in left) <= SPARE_PLACES + 4
    assert room.head(Priority.BACKGROUND) is first
    room.leave(first)
    assert room.head(Priority.BACKGROUND) is second
    assert len(room) == 1
