"""The line serves by priority, then by arrival, and lets people leave."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core import Priority
from engine.waiting_line import WaitingLine


def test_a_person_passes_waiting_background_work() -> None:
    line: WaitingLine[str] = WaitingLine()
    line.push("digest", Priority.BACKGROUND)
    line.push("run", Priority.NORMAL)
    line.push("question", Priority.INTERACTIVE)
    assert [line.pop(), line.pop(), line.pop(), line.pop()] == ["question", "run", "digest", None]


def test_leaving_keeps_the_order_of_the_others() -> None:
    line: WaitingLine[str] = WaitingLine()
    for name in ("a", "b", "c"):
        line.push(name, Priority.NORMAL)
    line.discard("b")
    line.discard("never there")
    assert len(line) == 2
    assert [line.pop(), line.pop()] == ["a", "c"]


@given(st.lists(st.sampled_from(Priority)))
def test_the_order_is_a_stable_sort_by_priority(priorities: list[Priority]) -> None:
    line: WaitingLine[tuple[int, Priority]] = WaitingLine()
    arrived = list(enumerate(priorities))
    for item in arrived:
        line.push(item, item[1])
    assert list(iter(line.pop, None)) == sorted(arrived, key=lambda item: item[1])
