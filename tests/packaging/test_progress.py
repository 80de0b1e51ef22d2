"""What a person sees while the engine compiles."""

import io

import pytest

from steps.progress import Count, ProgressLine, in_words, parse_count, remaining_s


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("[12/83] /usr/bin/c++ -O3 -c x.cpp", (12, 83)),
        ("  [83/83] linking", (83, 83)),
    ],
)
def test_a_counter_at_the_start_of_a_line_is_read(line: str, count: tuple[int, int]):
    found = parse_count(line)
    assert found is not None
    assert (found.done, found.total) == count


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-- Found Threads: TRUE",
        "warning: array[3/4] here",
        "[0/0] nothing",
        "[9/3] more than all",
        "[a/b]",
    ],
)
def test_every_other_line_says_nothing_about_progress(line: str):
    assert parse_count(line) is None


def test_the_rest_is_guessed_from_what_is_done():
    assert remaining_s(Count(done=20, total=80), elapsed_s=30) == pytest.approx(90)


@pytest.mark.parametrize(("done", "elapsed_s"), [(1, 60.0), (20, 1.0)])
def test_nothing_is_guessed_from_too_little(done: int, elapsed_s: float):
    assert remaining_s(Count(done=done, total=80), elapsed_s) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (41.6, "42 s"), (60, "1 min 00 s"), (139.3, "2 min 19 s")]
)
def test_durations_are_in_words(seconds: float, words: str):
    assert in_words(seconds) == words


def test_without_a_terminal_a_line_comes_every_ten_seconds():
    clock, out = Clock(), io.StringIO()
    progress = ProgressLine("Compiling", out=out, clock=clock)
    for step in range(1, 31):
        clock.now_s += 1
        progress.feed(f"[{step}/40] c++")
    assert out.getvalue().splitlines() == [
        "  Compiling:   2 %, 1 s so far",
        "  Compiling:  27 %, 11 s so far, about 29 s left",
        "  Compiling:  52 %, 21 s so far, about 19 s left",
    ]


def test_on_a_terminal_one_line_is_written_again_and_again():
    clock, out = Clock(), Terminal()
    progress = ProgressLine("Compiling", out=out, clock=clock)
    for step in range(1, 4):
        clock.now_s += 1
        progress.feed(f"[{step}/4] c++")
    progress.finish("done in 3 s")
    assert out.getvalue().count("\r\x1b[2K") == 4
    assert out.getvalue().endswith("Compiling: done in 3 s\n")
    assert out.getvalue().count("\n") == 1
