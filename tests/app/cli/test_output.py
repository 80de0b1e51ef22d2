"""How things are written: tables, times, and text from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.output import ago, columns_of, count, cut, duration, elide, pad, paragraph, printable, table

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "just now"),
        (1.4, "just now"),
        (5, "5 s ago"),
        (89, "89 s ago"),
        (120, "2 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 days ago"),
        (-20, "in 20 s"),
        (-7200, "in 2 h"),
    ],
)
def test_how_far_away_a_moment_is(seconds: float, expected: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == expected


def test_a_moment_that_never_was() -> None:
    assert ago(None) == "never"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (12.34, "12.3 s"), (128, "2 min 8 s"), (7380, "2 h 3 min")]
)
def test_how_long_something_took(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_one_is_not_plural() -> None:
    assert (count(1, "run"), count(0, "run"), count(1200, "run")) == ("1 run", "0 runs", "1,200 runs")


def test_columns_are_aligned_also_with_wide_characters() -> None:
    lines = table(("NAME", "N"), [("日本語", "1"), ("é", "22")], right=(1,)).splitlines()
    assert lines == ["NAME     N", "日本語   1", "é       22"]


def test_the_last_column_is_cut_to_the_terminal() -> None:
    lines = table(("ID", "TITLE"), [("1", "x" * 80)], columns=30).splitlines()
    assert columns_of(lines[1]) == 30
    assert lines[1].endswith("…")


def test_a_cell_with_line_breaks_stays_one_line() -> None:
    assert len(table(("A",), [("one\ntwo\x0bthree",)]).splitlines()) == 2


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_cut_text_fits_and_begins_as_it_was(text: str, columns: int) -> None:
    short = cut(text, columns)
    assert columns_of(short) <= columns
    assert short == text or text.startswith(short.removesuffix("…").rstrip())


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_padding_never_loses_text(text: str, columns: int) -> None:
    assert pad(text, columns).startswith(text)
    assert columns_of(pad(text, columns)) == max(columns, columns_of(text))


@given(st.text())
def test_printed_text_holds_nothing_that_steers_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]
    shown.encode()  # no half of a surrogate pair either


def test_paragraphs_keep_long_words_whole_and_indent_what_follows() -> None:
    text = paragraph(
        "a " * 30 + "/a/very/long/path/that/must/stay/whole", indent="  ", first="- ", columns=40
    )
    lines = text.splitlines()
    assert lines[0].startswith("- a a")
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[-1].strip() == "/a/very/long/path/that/must/stay/whole"


@given(st.text(alphabet="abc日\u0301.txt", max_size=40), st.integers(0, 30))
def test_an_elided_text_fits_and_keeps_its_two_ends(text: str, columns: int) -> None:
    short = elide(text, columns)
    assert columns_of(short) <= columns
    if columns_of(text) <= columns:
        assert short == text
    elif columns >= 1:
        head, _, tail = short.partition("…")
        assert text.startswith(head)
        assert text.endswith(tail)


def test_an_elided_file_name_keeps_its_suffix() -> None:
    assert elide("quarterly-report-of-the-year.pdf", 16) == "quarterl…ear.pdf"
