"""From logits to a token: what is cut, what is likely, what is forbidden, and that a seed repeats itself."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import SamplingParams
from engine.errors import RequestInvalid
from engine.text.sampling import REPEAT_LAST_N, Logits, TokenPicker, row_logprobs


def logits(*values: float) -> Logits:
    return np.array(values, dtype=np.float32)


def picker(n_vocab: int = 4, prompt: tuple[int, ...] = (), **sampling: object) -> TokenPicker:
    defaults: dict[str, object] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0, "seed": 1}
    params = SamplingParams(**(defaults | sampling))  # type: ignore[arg-type]
    return TokenPicker(params, n_vocab=n_vocab, prompt=prompt)


def drawn(picked_by: TokenPicker, row: Logits, times: int = 2000) -> Counter[int]:
    return Counter(picked_by.pick(picked_by.adjusted(row)) for _ in range(times))


def softmax(row: Logits) -> np.ndarray:
    weights = np.exp(row.astype(np.float64) - row.max())
    return weights / weights.sum()


def test_greedy_takes_the_likeliest_and_leaves_the_logits_alone() -> None:
    row = logits(0.0, 3.0, 1.0, -1.0)
    greedy = picker(temperature=0.0)
    assert greedy.adjusted(row) is row
    assert greedy.pick(row) == 1


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    row = logits(0.0, 2.0, 1.0, -1.0)
    counts = drawn(picker(), row, times=20_000)
    for token, share in enumerate(softmax(row)):
        assert counts[token] / 20_000 == pytest.approx(share, abs=0.015)


def test_a_large_vocabulary_is_drawn_from_as_a_small_one() -> None:
    row = np.full(5000, -math.inf, dtype=np.float32)
    row[[3, 700, 4999]] = (1.0, 2.0, 0.0)
    counts = drawn(picker(n_vocab=5000), row, times=20_000)
    shares = softmax(logits(1.0, 2.0, 0.0))
    assert set(counts) == {3, 700, 4999}
    for token, share in zip((3, 700, 4999), shares, strict=True):
        assert counts[token] / 20_000 == pytest.approx(share, abs=0.015)


def test_a_high_temperature_flattens_and_a_low_one_sharpens() -> None:
    row = logits(0.0, 2.0, 1.0, -1.0)
    hot, cold = drawn(picker(temperature=5.0), row), drawn(picker(temperature=0.2), row)
    assert hot[1] < 800
    assert cold[1] > 1950


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ({"top_k": 2}, {1, 2}),
        ({"top_k": 1}, {1}),
        ({"top_p": 0.6}, {1}),
        ({"top_p": 0.7}, {1, 2}),
        ({"min_p": 0.3}, {1, 2}),
        ({"top_k": 3, "min_p": 0.3}, {1, 2}),
        ({"top_k": 3, "top_p": 0.95}, {0, 1, 2}),
        ({"top_p": 0.0}, {1}),
        ({}, {0, 1, 2, 3}),
    ],
)
def test_what_is_cut_is_never_drawn_and_the_rest_is(cut: dict[str, float], kept: set[int]) -> None:
    assert set(drawn(picker(**cut), logits(0.0, 2.0, 1.0, -1.0))) == kept


@given(
    row=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=60),
    top_k=st.integers(1, 60),
    top_p=st.floats(0.05, 1.0),
    min_p=st.floats(0.0, 1.0),
)
def test_a_token_is_drawn_from_the_ones_that_sorting_would_keep(
    row: list[float], top_k: int, top_p: float, min_p: float
) -> None:
    values = np.array(row, dtype=np.float32)
    ranked = sorted(range(len(row)), key=lambda token: (-values[token], token))[:top_k]
    shares = softmax(values[ranked])
    n_kept = int(np.searchsorted(np.cumsum(shares), top_p - 1e-6)) + 1
    allowed = {
        token
        for token, share in zip(ranked[: n_kept + 1], shares, strict=False)
        if share >= shares[0] * min_p * (1 - 1e-4)
    }
    work = picker(n_vocab=len(row), top_k=top_k, top_p=top_p, min_p=min_p)
    assert all(work.pick(values) in allowed for _ in range(5))


def test_the_same_seed_draws_the_same_tokens_and_another_does_not() -> None:
    row = np.zeros(1000, dtype=np.float32)
    runs = [[work.pick(row) for _ in range(8)] for work in (picker(seed=7), picker(seed=7), picker(seed=8))]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_without_a_seed_each_request_is_drawn_anew() -> None:
    row = np.zeros(1000, dtype=np.float32)
    runs = [[work.pick(row) for _ in range(8)] for work in (picker(seed=None), picker(seed=None))]
    assert runs[0] != runs[1]


def test_each_choice_takes_one_number_whatever_is_cut() -> None:
    row = np.zeros(100, dtype=np.float32)
    plain, cut = picker(seed=3), picker(seed=3, top_k=50, top_p=0.9)
    for _ in range(5):
        plain.pick(row)
        cut.pick(row)
    assert plain._random.random() == cut._random.random()


def test_a_bias_forbids_or_prefers() -> None:
    row = logits(0.0, 2.0, 1.0, -1.0)
    forbidding = picker(temperature=0.0, logit_bias={1: -100.0})
    assert forbidding.pick(forbidding.adjusted(row)) == 2
    assert 1 not in drawn(picker(logit_bias={1: -100.0}), row)
    assert set(drawn(picker(logit_bias={3: 100.0}), row)) == {3}
    assert row.tolist() == [0.0, 2.0, 1.0, -1.0], "the logits belong to the context"


def test_a_bias_for_a_token_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="the token 4; this model's tokens are 0 to 3"):
        picker(logit_bias={4: 1.0})


def test_the_repeat_penalty_looks_at_the_last_tokens_of_the_prompt_too() -> None:
    row = logits(-1.0, 2.0, 1.9, -1.0)
    work = picker(temperature=0.0, repeat_penalty=2.0, prompt=(1, 0))
    assert work.adjusted(row).tolist() == pytest.approx([-2.0, 1.0, 1.9, -1.0])
    for _ in range(REPEAT_LAST_N):
        work.accept(3)
    assert work.adjusted(row).tolist() == pytest.approx([-1.0, 2.0, 1.9, -2.0]), "the prompt is long ago"


def test_presence_and_frequency_count_the_answer_only() -> None:
    row = logits(0.0, 0.0, 0.0, 0.0)
    work = picker(temperature=0.0, presence_penalty=0.5, frequency_penalty=0.25, prompt=(3,))
    for token in (1, 1, 2):
        work.accept(token)
    assert work.adjusted(row).tolist() == pytest.approx([0.0, -1.0, -0.75, 0.0])


def test_logprobs_are_those_of_the_raw_logits_best_first() -> None:
    row = logits(0.0, 2.0, 1.0, -1.0)
    found = row_logprobs(row, 2, 3)
    assert found.chosen == pytest.approx(math.log(softmax(row)[2]), abs=1e-5)
    assert [token for token, _ in found.top] == [1, 2, 0]
    assert [math.exp(value) for _, value in found.top] == pytest.approx(softmax(row)[[1, 2, 0]], abs=1e-5)
    assert row_logprobs(row, 2, 0).top == ()


@given(row=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=80), n_top=st.integers(0, 20))
def test_probabilities_of_different_tokens_never_sum_to_more_than_one(row: list[float], n_top: int) -> None:
    found = row_logprobs(np.array(row, dtype=np.float32), 0, n_top)
    assert len(found.top) == min(n_top, len(row))
    assert len({token for token, _ in found.top}) == len(found.top)
    assert sum(math.exp(value) for _, value in found.top) <= 1 + 1e-5
    assert found.chosen <= 0
