"""Text comes out in whole code points and ends before the first stop string, however it was cut into pieces."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from engine.text.output import StopMatcher, Utf8Stream


def test_an_unfinished_code_point_is_held_back() -> None:
    stream = Utf8Stream()
    data = "€".encode()
    assert stream.feed(data[:1]) == ""
    assert stream.feed(data[1:2]) == ""
    assert stream.feed(data[2:] + b"!") == "€!"


def test_broken_bytes_become_the_replacement_character() -> None:
    assert Utf8Stream().feed(b"a\xffb") == "a\ufffdb"


@given(text=st.text(), cuts=st.lists(st.integers(0, 400)))
def test_any_cutting_of_valid_text_gives_the_same_text(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    stream = Utf8Stream()
    parts = [stream.feed(data[start:end]) for start, end in itertools.pairwise(edges)]
    assert "".join(parts) == text
    for part in parts:
        part.encode()


def test_a_stop_string_in_pieces_is_found_and_nothing_of_it_is_shown() -> None:
    matcher = StopMatcher(("<end>",))
    assert matcher.feed("hello <e") == "hello "
    assert matcher.feed("nd") == ""
    assert not matcher.hit
    assert matcher.feed("> more") == ""
    assert matcher.met == "<end>"
    assert matcher.feed("even more") == ""


def test_a_false_start_is_shown_in_the_end() -> None:
    matcher = StopMatcher(("<end>",))
    assert matcher.feed("a <e") == "a "
    assert matcher.feed("m") == "<em"
    assert matcher.feed("<en") == ""
    assert matcher.flush() == "<en"
    assert matcher.flush() == ""


def test_without_stop_strings_nothing_is_held() -> None:
    assert StopMatcher(()).feed("abc") == "abc"


@given(
    text=st.text(alphabet="abc", max_size=60),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=3),
    size=st.integers(1, 7),
)
def test_the_result_is_the_text_before_the_first_stop_string(text: str, stops: list[str], size: int) -> None:
    matcher = StopMatcher(tuple(stops))
    shown = "".join(matcher.feed(text[at : at + size]) for at in range(0, len(text), size)) + matcher.flush()
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if size == 1 or not places:
        # fed character by character, the stop string that is complete first ends the text
        ends = [place + len(stop) for stop in stops if (place := text.find(stop)) >= 0]
        if ends:
            first_end = min(ends)
            starts = [first_end - len(stop) for stop in stops if text[:first_end].endswith(stop)]
            assert shown == text[: min(starts)]
        else:
            assert shown == text
    assert matcher.hit is bool(places)
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
