"""n_computed chases the tokens: chunked prompts, reused prefixes, forced tokens and decoding are one thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scheduler import Scheduler, Sequence, common_prefix


def sequence(n_tokens: int, n_computed: int = 0) -> Sequence:
    return Sequence(request_id="r", tokens=list(range(n_tokens)), n_prompt=n_tokens, n_computed=n_computed)


@given(n_tokens=st.integers(1, 200), n_computed=st.integers(0, 199), n_batch=st.integers(1, 64))
def test_every_token_is_computed_once_and_in_order(n_tokens: int, n_computed: int, n_batch: int) -> None:
    n_computed = min(n_computed, n_tokens - 1)
    scheduler = Scheduler(n_batch=n_batch)
    work = sequence(n_tokens, n_computed)
    scheduler.add(work)
    seen: list[int] = []
    while (batch := scheduler.schedule()) is not None:
        assert 1 <= len(batch.tokens) <= n_batch
        assert batch.start == n_computed + len(seen)
        assert batch.ends_sequence is (batch.start + len(batch.tokens) == n_tokens)
        seen.extend(batch.tokens)
        scheduler.update(batch)
    assert seen == list(range(n_computed, n_tokens))


def test_a_new_token_and_its_forced_followers_are_the_next_batch() -> None:
    scheduler = Scheduler(n_batch=8)
    work = sequence(3, 3)
    scheduler.add(work)
    assert scheduler.schedule() is None
    work.tokens.extend([7, 8, 9])
    batch = scheduler.schedule()
    assert batch is not None
    assert (batch.start, batch.tokens, batch.ends_sequence) == (3, [7, 8, 9], True)
    assert work.n_generated == 3


def test_only_one_sequence_is_in_work() -> None:
    scheduler = Scheduler(n_batch=8)
    first, second = sequence(2), sequence(2)
    scheduler.add(first)
    with pytest.raises(RuntimeError):
        scheduler.add(second)
    scheduler.remove(second)
    assert scheduler.running is first
    scheduler.remove(first)
    scheduler.add(second)
    assert scheduler.running is second


def test_contradicting_counters_are_a_bug_that_shows() -> None:
    work = sequence(2)
    work.n_computed = 3
    with pytest.raises(RuntimeError, match="inconsistent"):
        work.check_integrity()


@given(shared=st.lists(st.integers()), left=st.lists(st.integers()), right=st.lists(st.integers()))
def test_the_common_prefix_is_common_and_the_longest(
    shared: list[int], left: list[int], right: list[int]
) -> None:
    one, two = shared + left, shared + right
    size = common_prefix(one, two)
    assert size >= len(shared)
    assert one[:size] == two[:size]
    assert size == min(len(one), len(two)) or one[size] != two[size]
