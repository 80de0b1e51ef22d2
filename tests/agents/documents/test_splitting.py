"""Texts are split into parts that fit, at good places, without losing a word."""

import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.documents import split_text


class Counter:
    """Counts tokens as a tokenizer might: by words and their length, and not quite additively."""

    def __init__(self, chars_per_token: int = 4) -> None:
        self.calls = 0
        self._chars = chars_per_token

    def one(self, text: str) -> int:
        words = re.findall(r"\w+|[^\w\s]|\n+", text)
        return 1 + sum(math.ceil(len(word) / self._chars) for word in words)

    async def __call__(self, texts: Sequence[str]) -> list[int]:
        self.calls += 1
        assert all(texts)
        return [self.one(text) for text in texts]


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


texts = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ["# Title\n", "word ", "A sentence. ", "\n\n", "\n", "x" * 60, "日本語。", "é!", "   ", "\f"]
        ),
        max_size=200,
    ).map("".join),
)


@given(text=texts, budget=st.integers(4, 60), chars_per_token=st.integers(1, 8))
async def test_every_part_fits_and_nothing_is_lost(text: str, budget: int, chars_per_token: int) -> None:
    counter = Counter(chars_per_token)
    parts = await split_text(text, budget_tokens=budget, count_tokens=counter)
    assert squeezed("".join(parts)) == squeezed(text)
    assert all(part == part.strip() and part for part in parts)
    assert all(counter.one(part) <= budget for part in parts)
    assert counter.calls <= 2 * math.log2(len(text) + 2) + 2


async def test_a_text_that_fits_is_one_part_and_one_question() -> None:
    counter = Counter()
    assert await split_text("  Short.\n", budget_tokens=100, count_tokens=counter) == ["Short."]
    assert counter.calls == 1


async def test_blanks_make_no_part() -> None:
    assert await split_text(" \n\t ", budget_tokens=10, count_tokens=Counter()) == []


async def test_a_long_text_is_split_with_few_questions_into_well_filled_parts() -> None:
    counter = Counter()
    text = "\n\n".join(
        f"Paragraph {number} says a few things. And one more thing." for number in range(2_000)
    )
    parts = await split_text(text, budget_tokens=1_000, count_tokens=counter)
    assert counter.calls <= 4
    fill = [counter.one(part) / 1_000 for part in parts[:-1]]
    assert min(fill) > 0.6
    assert sum(fill) / len(fill) > 0.75


async def test_it_cuts_between_chapters_when_it_can() -> None:
    chapters = [f"# Chapter {number}\n\n" + "Some words here. " * 17 for number in range(6)]
    parts = await split_text("\n".join(chapters), budget_tokens=110, count_tokens=Counter())
    assert [part.splitlines()[0] for part in parts] == [f"# Chapter {number}" for number in range(6)]


async def test_it_cuts_between_paragraphs_rather_than_sentences_and_words() -> None:
    text = "\n\n".join(["One two three. Four five six."] * 30)
    for part in await split_text(text, budget_tokens=40, count_tokens=Counter()):
        assert part.startswith("One")
        assert part.endswith("six.")


async def test_a_single_endless_word_is_cut_anywhere() -> None:
    parts = await split_text("x" * 10_000, budget_tokens=50, count_tokens=Counter())
    assert "".join(parts) == "x" * 10_000


async def test_a_budget_below_one_character_is_an_error_and_no_endless_loop() -> None:
    async def expensive(texts: Sequence[str]) -> list[int]:
        return [10 * len(text) for text in texts]

    with pytest.raises(ValueError, match="does not hold a single character"):
        await split_text("abc", budget_tokens=9, count_tokens=expensive)
