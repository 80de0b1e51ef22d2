"""What a document offers to choose from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.runs.digest.passages import (
    CATEGORIES,
    MAX_SENTENCE_CHARS,
    MAX_TITLE_CHARS,
    asking_sentences,
    category_candidates,
    normalised,
    sentences,
    spread,
    telling_sentences,
    title_candidates,
)

NOTES = """# Garden committee, 12 March

Present: Ana, Piotr and Lee.

The water bill was 640 euros, because the pipe leaked. Dr. Weiss will replace the valve
before 1 April.

- [ ] Fatima must order forty bags of compost.
* The tool shed needs a new lock.
"""


def test_sentences_come_in_order_and_word_for_word() -> None:
    assert sentences(NOTES) == [
        "Present: Ana, Piotr and Lee.",
        "The water bill was 640 euros, because the pipe leaked.",
        "Dr. Weiss will replace the valve before 1 April.",
        "Fatima must order forty bags of compost.",
        "The tool shed needs a new lock.",
    ]


def test_a_text_without_sentences_gives_its_lines() -> None:
    assert sentences("milk\nbread\n\nmilk\n" + "x" * 1000) == ["milk", "bread", "x" * MAX_SENTENCE_CHARS]


def test_a_repeated_sentence_counts_once() -> None:
    assert sentences("It rained all day long. It rained all day long.") == ["It rained all day long."]


@given(st.text())
def test_every_sentence_stands_in_the_text(text: str) -> None:
    for sentence in sentences(text):
        assert sentence in normalised(text) or sentence in normalised(text.replace("#", " "))


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_a_text_that_is_not_blank_always_offers_something(text: str) -> None:
    assert sentences(text)
    assert all(len(title) <= MAX_TITLE_CHARS for title in title_candidates(text))


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        (NOTES, ["Garden committee, 12 March"]),
        ("Dear Ms Okafor,\nSubject: New prices from 1 May\n\nthank you.", ["New prices from 1 May"]),
        ("River trust\n===========\n\n412 otters were counted.", ["River trust"]),
        ("\n\nAn untitled note about rain.", ["An untitled note about rain."]),
    ],
)
def test_titles_are_headings_subject_lines_or_the_first_line(text: str, titles: list[str]) -> None:
    assert title_candidates(text) == titles


def test_a_long_title_is_cut_at_a_word() -> None:
    [title] = title_candidates("# " + "word " * 40)
    assert title.endswith("word…")


@pytest.mark.parametrize(
    ("sentence", "asks"),
    [
        ("Piotr will replace the valve before 1 April.", True),
        ("Please confirm by 15 April.", True),
        ("The tool shed needs a new lock.", False),
        ("The price will remain the same.", False),
        ("We ask you to pay the invoice by the end of this month.", True),
        ("The bus costs 900 euros.", False),
    ],
)
def test_sentences_that_ask_for_something_are_told_by_their_wording(sentence: str, asks: bool) -> None:
    assert asking_sentences([sentence]) == ([sentence] if asks else [])


def test_where_tasks_are_listed_vaguer_sentences_are_left_out() -> None:
    listed = ["Tom: order the cork floor by 22 May.", "Priya: write the text for the sign."]
    assert asking_sentences(["You must wait for the review.", *listed]) == listed


def test_a_summary_is_made_of_sentences_that_stand_alone_and_ask_for_nothing() -> None:
    telling = [
        "The library was built in 1911 and extended in 1968.",
        "Water levels stayed normal during the whole week.",
        "The heated area is 1,240 square metres.",
    ]
    leaning = ["It has solid brick walls and high windows.", "The other twenty come from a workshop."]
    assert telling_sentences([*leaning, *telling, "Ana must order a spare part."]) == telling
    assert telling_sentences(leaning) == leaning


def test_page_numbers_and_numbered_headings_are_no_sentences() -> None:
    text = "Page 3\n2. The building and its use\nThe library was built in 1911.\n3. Tom repairs the\nold fan today.\n4 / 5"
    assert sentences(text) == ["The library was built in 1911.", "Tom repairs the old fan today."]


@pytest.mark.parametrize(
    ("text", "category"),
    [
        (NOTES, "meeting notes"),
        ("Dear Ms Okafor,\n\nthank you.\n\nKind regards,\nTomas", "letter"),
        ("INVOICE 2024-118\nTotal: 174 euros", "invoice"),
        ("Annual report of the river trust", "report"),
    ],
)
def test_wording_hints_at_the_category(text: str, category: str) -> None:
    assert category_candidates(text) == [category]


def test_without_a_hint_every_category_is_possible() -> None:
    assert category_candidates("It rained.") == list(CATEGORIES)


@given(st.lists(st.text(min_size=1), max_size=40), st.integers(1, 8))
def test_spreading_keeps_order_loses_nothing_and_leaves_no_group_empty(items: list[str], groups: int) -> None:
    spreaded = spread(items, groups)
    assert [item for group in spreaded for item in group] == items
    assert all(spreaded)
    assert len(spreaded) == min(groups, len(items))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "# " + " " * 200_000 + "x",
        "\n" * 300_000 + "x",
        "# " + "#" * 300_000 + "x",
        "# #" * 100_000,
        "p. A " * 100_000,
        "a\n" * 300_000,
        "A" * 500_000,
        "AAAA BBBB " * 60_000,
        "." * 500_000,
        "1." * 200_000,
        "subject:" + " " * 300_000,
        "- [ ] " * 100_000,
        "Dear " * 100_000,
        "\t" * 300_000 + "report",
    ],
)
def test_no_document_can_make_the_search_slow(text: str) -> None:
    found = sentences(text)
    telling_sentences(found)
    asking_sentences(found)
    title_candidates(text)
    category_candidates(text)
