"""Texts that wait a moment for each other on their way out."""

import pytest

from engine.child.telling import TELL_EVERY_S, Telling
from engine.core import Alternative, TokenLogprob
from engine.messages import Text, Texts


class Line:
    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[Texts] = []
        self.telling = Telling(self.sent.append, lambda: self.now)

    def words(self) -> list[list[tuple[str, str, int]]]:
        return [[(text.id, text.text, text.tokens) for text in frame.items] for frame in self.sent]

    def add(self, name: str, words: str, *, at_once: bool = False) -> None:
        self.telling.add(Text(id=name, text=words, tokens=1), at_once=at_once)
        self.telling.tell_if_due()


@pytest.fixture
def line() -> Line:
    return Line()


def test_the_first_text_of_an_answer_takes_with_it_what_was_held_back(line: Line) -> None:
    line.add("a", "One", at_once=True)
    line.add("a", " two")
    assert line.words() == [[("a", "One", 1)]]
    line.add("b", "Yes", at_once=True)
    assert line.words()[1:] == [[("a", " two", 1), ("b", "Yes", 1)]]


def test_later_texts_leave_together_once_the_moment_is_over(line: Line) -> None:
    line.add("a", "One", at_once=True)
    for word in (" two", " three"):
        line.add("a", word)
    line.now += TELL_EVERY_S
    line.add("a", " four")
    assert line.words()[1:] == [[("a", " two three four", 3)]]


def test_at_the_end_nothing_is_held_back_and_nothing_is_told_twice(line: Line) -> None:
    line.add("a", "One", at_once=True)
    line.add("a", " two")
    line.telling.tell()
    line.telling.tell()
    assert line.words() == [[("a", "One", 1)], [("a", " two", 1)]]


def test_joined_texts_keep_each_log_probability(line: Line) -> None:
    likely = [TokenLogprob(chosen=Alternative(token=n, data="", logprob=-n)) for n in range(3)]
    line.add("a", "One", at_once=True)
    for one in likely:
        line.telling.add(Text(id="a", text="x", tokens=1, logprobs=(one,)), at_once=False)
    line.telling.tell()
    assert line.sent[-1].items[0].logprobs == tuple(likely)
