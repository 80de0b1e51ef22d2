"""Guessing ahead pays or stops: lookups in the text, the price of batches, and what the controller makes of both."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pace.prompt_lookup import MAX_MATCH, MAX_PLACES, PromptLookup
from engine.pace.speculation import (
    MAX_DRAFT,
    DraftSource,
    Experience,
    Kind,
    LookupSource,
    Speculation,
    StepCosts,
)

# what a batch of n rows takes, in steps of one row
FREE = lambda n_rows: 1.0 + 0.01 * (n_rows - 1)  # noqa: E731 - an accelerator that waits for its memory
PROCESSOR = lambda n_rows: 1.0 + 0.5 * (n_rows - 1)  # noqa: E731 - a processor that computes each row
STAIRS = lambda n_rows: 1.0 + 0.1 * (n_rows - 1) + (1.5 if n_rows > 4 else 0.0)  # noqa: E731


class GuessesAll:
    """A source that always has a guess."""

    def __init__(self, token_s: float = 0.0) -> None:
        self.token_s = token_s
        self.closed = False

    def look(self, tokens: Sequence[int]) -> Kind | None:
        return Kind.MODEL

    def take(self, n_tokens: int) -> list[int]:
        return [0] * n_tokens

    def close(self) -> None:
        self.closed = True


class Answers:
    """Plays sequences that get on together, with guesses that stand at a given rate."""

    def __init__(self, *, n_sequences: int = 1, token_s: float = 0.0) -> None:
        self.random = random.Random(7)
        self.token_s = token_s
        self.speculation = Speculation(draft_source=lambda: GuessesAll(token_s))
        self.names = [f"r{number}" for number in range(n_sequences)]
        self.n_batches = 0

    def play(self, n_batches: int, *, rate: float, cost: Callable[[int], float]) -> tuple[float, float]:
        """Tokens for each unit of time, as a ratio to plain steps; and guesses for each sequence and batch."""
        spent, won, n_drafted = 0.0, 0, 0
        for _ in range(n_batches):
            self.n_batches += 1
            drafts = {
                # no token comes twice: only the second model has guesses
                name: self.speculation.draft(name, [3 * self.n_batches, 3 * self.n_batches + 1], 16)
                for name in self.names
            }
            n_guesses = sum(map(len, drafts.values()))
            n_rows = len(self.names) + n_guesses
            step = cost(n_rows) * self.random.uniform(0.95, 1.05)
            spent += step + n_guesses * self.token_s
            n_drafted += n_guesses
            for name, guesses in drafts.items():
                n_stood = next(
                    (place for place in range(len(guesses)) if self.random.random() >= rate), len(guesses)
                )
                won += 1 + n_stood
                self.speculation.settle(name, len(guesses), n_stood)
            self.speculation.note_batch(
                n_sequences=len(self.names), n_rows=n_rows, n_threads=2, step_s=step, tells=True
            )
        plain = n_batches * len(self.names) / (n_batches * cost(len(self.names)))
        return won / spent / plain, n_drafted / n_batches / len(self.names)


def best_possible(rate: float, cost: Callable[[int], float]) -> float:
    return max(
        sum(rate**place for place in range(length + 1)) * cost(1) / cost(1 + length)
        for length in range(MAX_DRAFT + 1)
    )


@pytest.mark.parametrize("cost", [FREE, PROCESSOR, STAIRS])
@pytest.mark.parametrize("rate", [0.95, 0.8, 0.5])
def test_one_answer_gets_close_to_the_best_that_its_guesses_allow(
    rate: float, cost: Callable[[int], float]
) -> None:
    gain, _ = Answers().play(2000, rate=rate, cost=cost)
    assert gain > 0.9 * best_possible(rate, cost)


@pytest.mark.parametrize("rate", [0.3, 0.0])
def test_where_guesses_do_not_pay_they_stop_and_cost_next_to_nothing(rate: float) -> None:
    answers = Answers()
    answers.play(100, rate=rate, cost=PROCESSOR)
    gain, n_drafted = answers.play(1000, rate=rate, cost=PROCESSOR)
    assert gain > 0.99
    assert n_drafted < 0.03


def test_a_source_that_is_too_slow_is_not_asked() -> None:
    answers = Answers(token_s=2.0)
    answers.play(100, rate=0.95, cost=FREE)
    _, n_drafted = answers.play(1000, rate=0.95, cost=FREE)
    assert n_drafted < 0.03


def test_guessing_comes_back_when_the_text_becomes_guessable() -> None:
    answers = Answers()
    _, n_drafted = answers.play(300, rate=0.0, cost=FREE)
    assert n_drafted < 0.3
    answers.play(700, rate=0.95, cost=FREE)  # found by a trial
    gain, _ = answers.play(300, rate=0.95, cost=FREE)
    assert gain > 4.0


def test_guessing_stops_when_batches_become_expensive_and_comes_back_when_they_are_not() -> None:
    answers = Answers()
    assert answers.play(300, rate=0.7, cost=FREE)[0] > 2.0
    dear = lambda n_rows: 5.0 * n_rows  # noqa: E731 - a core is taken: each row waits its turn
    answers.play(200, rate=0.7, cost=dear)
    assert answers.play(300, rate=0.7, cost=dear)[1] < 0.1
    answers.play(1100, rate=0.7, cost=FREE)
    assert answers.play(300, rate=0.7, cost=FREE)[0] > 2.0


def test_in_company_guesses_are_worth_less_where_each_row_costs() -> None:
    alone = Answers().play(1000, rate=0.8, cost=PROCESSOR)[1]
    together = Answers(n_sequences=12).play(1000, rate=0.8, cost=lambda n_rows: 6 + 0.7 * (n_rows - 12))
    assert alone > 0.5
    assert together[1] < alone
    assert together[0] > 0.97


def test_in_company_guesses_still_pay_where_rows_are_free() -> None:
    gain, _ = Answers(n_sequences=4).play(1000, rate=0.9, cost=FREE)
    assert gain > 3.0


def test_nothing_is_guessed_before_a_step_was_measured_nor_beside_prompts() -> None:
    speculation = Speculation()
    tokens = [1, 2, 3] * 5
    assert speculation.draft("r", tokens, 8) == []
    speculation.note_batch(n_sequences=1, n_rows=1, n_threads=2, step_s=0.01, tells=True)
    drafts = speculation.draft("r", tokens, 8)
    assert drafts
    assert drafts == [1, 2, 3, 1, 2, 3, 1, 2][: len(drafts)]
    speculation.note_batch(n_sequences=2, n_rows=65, n_threads=2, step_s=0.2, tells=False)
    assert speculation.draft("r", tokens, 8) == []


def test_a_limit_is_kept_and_an_ended_sequence_lets_go_of_its_sources() -> None:
    made: list[GuessesAll] = []

    def source() -> DraftSource:
        made.append(GuessesAll())
        return made[-1]

    speculation = Speculation(draft_source=source)
    for n_rows in (1, 9):
        speculation.note_batch(n_sequences=1, n_rows=n_rows, n_threads=2, step_s=1.0, tells=True)
    assert speculation.draft("a", [1, 2], 0) == []
    assert len(speculation.draft("a", [1, 2], 3)) == 3
    assert len(speculation.draft("b", [1, 2], 100)) == MAX_DRAFT
    speculation.settle("a", 3, 3)
    speculation.end("a")
    speculation.end("a")
    speculation.settle("a", 3, 3)
    assert [source.closed for source in made] == [True, False]


def test_a_new_answer_begins_with_what_the_others_have_shown() -> None:
    experience = Experience()
    before = experience.rate(Kind.PAIR)
    for _ in range(50):
        experience.note(Kind.PAIR, 0, 1)
    assert experience.rate(Kind.PAIR) < 0.1 < before


def test_prices_of_batches_are_measured_and_lie_on_lines_between() -> None:
    costs = StepCosts()
    assert costs.step_s(1) is None
    costs.observe(2, 2.0, 2)
    assert costs.step_s(2) == 2.0
    assert 1.0 <= (costs.step_s(1) or 0) < 2.0
    assert (costs.step_s(4) or 0) > 2.0
    costs.observe(6, 4.0, 2)
    assert costs.step_s(4) == pytest.approx(3.0)
    assert costs.step_s(8) == pytest.approx(5.0)
    costs.observe(6, 400.0, 2)  # one slow batch says little
    assert costs.step_s(6) == 4.0
    for _ in range(5):
        costs.observe(6, 8.0, 2)
    assert costs.step_s(6) == 8.0


def test_other_numbers_of_threads_have_their_own_prices() -> None:
    costs = StepCosts()
    costs.observe(1, 1.0, 2)
    costs.observe(1, 3.0, 1)
    assert costs.step_s(1) == 3.0
    costs.observe(1, 1.0, 2)
    assert costs.step_s(1) == 1.0


def test_an_answer_that_quotes_is_guessed_from_the_quoted_text() -> None:
    lookup = PromptLookup()
    text = list(range(100, 150))
    tokens = [*text, 1, 2, 110, 111, 112]
    assert lookup.look(tokens) == 3
    assert lookup.take(5) == [113, 114, 115, 116, 117]


def test_of_several_places_the_longest_match_wins_then_the_latest() -> None:
    lookup = PromptLookup()
    assert lookup.look([5, 6, 7, 1, 9, 6, 7, 2, 8, 6, 7, 3, 5, 6, 7]) == 3
    assert lookup.take(1) == [1]
    assert lookup.look([5, 6, 7, 1, 9, 6, 7, 2, 8, 6, 7, 3, 4, 6, 7]) == 2
    assert lookup.take(1) == [3]


def test_a_repetition_is_carried_on_beyond_the_end() -> None:
    lookup = PromptLookup()
    assert lookup.look([1, 2, 3, 1, 2, 3, 1, 2, 3]) == 6
    assert lookup.take(7) == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3, 4, 5]])
def test_where_nothing_stood_before_nothing_is_guessed(tokens: list[int]) -> None:
    source = LookupSource()
    assert source.look(tokens) is None
    assert source.take(3) == []


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 10))
def test_step_by_step_the_lookup_finds_what_a_search_would(text: list[int], n_tokens: int) -> None:
    lookup = PromptLookup()
    for end in range(len(text) + 1):
        tokens = text[:end]
        found = lookup.look(tokens)
        places = [place for place in range(2, end) if tokens[place - 2 : place] == tokens[-2:]]
        if not places:
            assert found == 0
            continue
        assert found >= 2
        assert tokens[-found:] in [tokens[place - found : place] for place in places if place >= found]
        assert found >= max(common_end(tokens, place) for place in places[-MAX_PLACES:])
        drafts = lookup.take(n_tokens)
        assert len(drafts) == n_tokens
        # the guess continues a place where the same tokens stood, read with the guesses already written
        assert any(
            drafts == carried_on(tokens, place, n_tokens)
            for place in places
            if common_end(tokens, place) >= found
        )


def common_end(tokens: list[int], place: int) -> int:
    return next(
        (n for n in range(min(place, MAX_MATCH)) if tokens[place - 1 - n] != tokens[-1 - n]),
        min(place, MAX_MATCH),
    )


def carried_on(tokens: list[int], place: int, n_tokens: int) -> list[int]:
    written = list(tokens)
    for number in range(n_tokens):
        written.append(written[place + number])
    return written[len(tokens) :]


def test_another_text_begins_anew() -> None:
    lookup = PromptLookup()
    lookup.look([1, 2, 3, 4, 1, 2])
    assert lookup.look([7, 8]) == 0
    assert lookup.look([7, 8, 9, 7, 8]) == 2
    assert lookup.take(1) == [9]
