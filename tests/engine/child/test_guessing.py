"""Guesses in the loop: whichever of them stand, every answer is the one given without them."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import Priority, Request, SamplingParams
from engine.errors import EngineError
from engine.messages import Done, Failed
from engine.pace.speculation import Speculation
from engine.text.generation import Chosen
from tests.engine.child.test_batching import House, SeeingChooser, answer_to, serial_answer


class RiggedGuesses(Speculation):
    """Guesses as many as it may, each right with the given chance; remembers what it was told."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.random = random.Random(5)
        self.open: set[str] = set()
        self.n_drafted = 0
        self.n_accepted = 0

    def draft(self, request_id: str, tokens: Sequence[int], limit: int) -> list[int]:
        self.open.add(request_id)
        guesses: list[int] = []
        for _ in range(self.random.randint(0, min(limit, 8))):
            right = answer_to([*tokens, *guesses])
            guesses.append(right if self.random.random() < self.rate else ord("!"))
        self.n_drafted += len(guesses)
        return guesses

    def settle(self, request_id: str, n_drafted: int, n_accepted: int) -> None:
        assert 0 <= n_accepted <= n_drafted
        self.n_accepted += n_accepted

    def end(self, request_id: str) -> None:
        self.open.discard(request_id)


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 10),  # steps after the one before
            st.integers(1, 50),  # letters
            st.integers(1, 40),  # tokens wanted
            st.sampled_from(list(Priority)),
        ),
        min_size=1,
        max_size=8,
    ),
    rate=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    n_ctx=st.sampled_from([100, 160, 400]),
    n_slots=st.integers(1, 4),
    n_batch=st.integers(1, 40),
)
def test_with_guesses_right_or_wrong_every_answer_is_the_serial_one(
    asked: list[tuple[int, int, int, Priority]], rate: float, n_ctx: int, n_slots: int, n_batch: int
) -> None:
    house = House(n_ctx=n_ctx, n_slots=n_slots, n_batch=n_batch)
    guesses = house.loop._speculation = RiggedGuesses(rate)
    wanted: dict[str, tuple[str, int]] = {}
    for pause, n_letters, n, priority in asked:
        for _ in range(pause):
            house.step()
        prompt = chr(ord("A") + len(wanted)) * n_letters
        wanted[house.submit(prompt, n=n, priority=priority)] = (prompt, n)
    house.run()
    for name, (prompt, n) in wanted.items():
        assert house.text(name) == serial_answer(prompt, n)
    done = [sent.usage for sent in house.sent if isinstance(sent, Done)]
    counters = house.counters().counters
    assert counters.generated_tokens == sum(n for _, n in wanted.values())
    assert counters.accepted_tokens == guesses.n_accepted == sum(usage.accepted_tokens for usage in done)
    assert counters.drafted_tokens == sum(usage.drafted_tokens for usage in done) <= guesses.n_drafted
    assert guesses.open == set()


@pytest.mark.parametrize("error", [EngineError("too complex"), RuntimeError("a bug")])
def test_an_answer_that_fails_beside_its_guesses_leaves_a_prefix_that_serves_the_next_one(
    error: Exception,
) -> None:
    class FailingChooser(SeeingChooser):
        def opening(self) -> list[int]:
            return []

        def choose(self, row: int) -> Chosen:
            raise error

    house = House()
    house.loop._speculation = RiggedGuesses(1.0)
    prompt = "a prompt that is long enough to be kept"
    house.submit(prompt, n=30)
    house.run(until=lambda: house.text("r0") != "")
    house.loop._works["r0"].generation.chooser = FailingChooser(house.context)
    house.run()
    assert [sent.id for sent in house.sent if isinstance(sent, Failed)] == ["r0"]
    house.loop._kv.evict_all_kept()  # its state is saved, and used again
    name = house.submit(prompt, n=30)
    house.run()
    assert house.done(name).usage.cached_tokens > 30
    assert house.text(name) == serial_answer(prompt, 30)


def test_guesses_that_stand_save_batches() -> None:
    def n_batches(rate: float) -> int:
        house = House()
        house.loop._speculation = RiggedGuesses(rate)
        house.submit("a prompt", n=40)
        house.run()
        return house.counters().counters.batches

    assert n_batches(1.0) < n_batches(0.0) / 2


def test_a_seed_alone_is_guessed_for_and_nothing_is_where_the_answer_must_be_repeatable() -> None:
    for speculate in (True, False):
        house = House()
        guesses = house.loop._speculation = RiggedGuesses(1.0)
        sampling = SamplingParams(max_tokens=30, temperature=0.0, seed=4)
        house.loop.submit(Request(id="seeded", prompt="a prompt", sampling=sampling, speculate=speculate))
        house.run()
        assert house.text("seeded") == serial_answer("a prompt", 30)
        assert (guesses.n_drafted > 0) is speculate
