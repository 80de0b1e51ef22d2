"""The whole loop without a model, under random arrivals, classes, cancels and shortage of cells.

The stand-in for the model answers with a number made of all the tokens it has seen, so an answer is right only if every
batch, copy, cut and swap left exactly the right tokens in the cache.
"""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.child.batch_loop import BatchLoop
from engine.child.channel import Inbox
from engine.child.faults import Faults
from engine.core import FinishReason, PinnedPrefix, Priority, Request, SamplingParams
from engine.errors import EngineError
from engine.messages import Counters, Done, Failed, FromChild, Progress, Texts
from engine.model import CacheSpec, PowerLimits
from engine.schedule.batch import Outcome
from engine.schedule.scheduler import SPARE_SLOTS
from engine.states.sealing import State
from engine.states.snapshots import SnapshotStore
from engine.text.generation import Chosen, TokenChooser
from tests.engine.fake_context import FakeContext
from tests.engine.support import EchoRunner, fixed_pacer, message


def answer_to(seen: list[int]) -> int:
    """A letter that depends on everything before it."""
    return ord("a") + sum((place + 1) * token for place, token in enumerate(seen)) % 26


def serial_answer(prompt: str, n: int) -> str:
    tokens = list(prompt.encode())
    for _ in range(n):
        tokens.append(answer_to(tokens))
    return bytes(tokens[len(prompt) :]).decode()


class SeeingChooser(TokenChooser):
    """Chooses by what the cache held, not by what it was told."""

    complete = False

    def __init__(self, context: FakeContext) -> None:
        self._context = context

    def opening(self) -> list[int]:
        return []

    def choose(self, row: int) -> Chosen:
        return Chosen(tokens=[answer_to(self._context.seen_at(row))])

    def close(self) -> None:
        pass


class SeeingRunner(EchoRunner):
    """Answers from the cache."""

    def new_chooser(self, request: Request, prompt: list[int]) -> TokenChooser:
        return SeeingChooser(self.context)


class House:
    """A loop with its inbox, a clock that moves with each step, and what was sent."""

    def __init__(
        self,
        *,
        n_ctx: int = 256,
        n_slots: int = 3,
        n_batch: int = 16,
        can_rewind: bool = True,
        n_kept: int = 3,
        max_kept_cells: int = 512,
    ) -> None:
        self.runner = SeeingRunner(
            n_batch=n_batch, n_ctx=n_ctx, n_seq_ids=n_slots + SPARE_SLOTS + n_kept, can_rewind=can_rewind
        )
        self.context = self.runner.context
        self.store = SnapshotStore(
            CacheSpec(ram_bytes=20_000),
            identity=self.runner.state_identity(),
            can_rewind=can_rewind,
            note=print,
        )
        self.inbox = Inbox(-1)
        self.sent: list[FromChild] = []
        self.now = 0.0
        self.loop = BatchLoop(
            self.runner,
            pacer=fixed_pacer(self.context.n_threads),
            snapshots=self.store,
            n_slots=n_slots,
            inbox=self.inbox,
            send=self.sent.append,
            beat=lambda: None,
            faults=Faults(),
            max_kept_cells=max_kept_cells,
            clock=lambda: self.now,
        )
        self._numbers = itertools.count()

    def submit(
        self,
        prompt: str,
        *,
        n: int = 4,
        priority: Priority = Priority.NORMAL,
        before: str = "",
        is_pinned: bool = False,
    ) -> str:
        name = f"r{next(self._numbers)}"
        asked = Request(
            id=name,
            messages=(message(before, "system"), message(prompt)),
            sampling=SamplingParams(max_tokens=n, temperature=0.0),
            priority=priority,
            prefix=PinnedPrefix(name=f"pin of {before}") if is_pinned else None,
        )
        self.loop.submit(asked)
        return name

    def step(self) -> bool:
        self.now += 0.05
        went_on = self.loop.step()
        self.loop.check_integrity()
        self.store.check_integrity()
        return went_on

    def run(self, until: Callable[[], bool] = lambda: False) -> int:
        steps = 0
        while not until() and self.step():
            steps += 1
            assert steps < 20_000, "it never ends"
        return steps

    def text(self, name: str) -> str:
        items = [item for sent in self.sent if isinstance(sent, Texts) for item in sent.items]
        return "".join(item.text for item in items if item.id == name)

    def done(self, name: str) -> Done:
        return next(sent for sent in self.sent if isinstance(sent, Done) and sent.id == name)

    def counters(self) -> Counters:
        return [sent for sent in self.sent if isinstance(sent, Counters)][-1]


def test_answers_in_company_are_those_given_alone() -> None:
    house = House(n_slots=8)
    prompts = [f"prompt {number} " * (number + 1) for number in range(8)]
    names = [house.submit(prompt, n=12) for prompt in prompts]
    house.run()
    assert [house.text(name) for name in names] == [serial_answer(prompt, 12) for prompt in prompts]
    assert house.counters().counters.batch_sequences > house.counters().counters.batches


arrivals = st.lists(
    st.tuples(
        st.integers(0, 30),  # steps after the one before
        st.sampled_from(["", "shared words that many begin with, ", "shared words, other end: "]),
        st.integers(1, 60),  # own letters
        st.integers(1, 30),  # tokens wanted
        st.sampled_from(list(Priority)),
        st.one_of(st.none(), st.integers(0, 40)),  # cancelled so many steps after its arrival
        st.booleans(),  # its beginning is pinned
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    arrivals=arrivals,
    can_rewind=st.booleans(),
    n_ctx=st.sampled_from([128, 200, 600]),
    n_slots=st.integers(1, 4),
    n_kept=st.integers(0, 4),
    n_batch=st.integers(1, 40),
    max_kept_cells=st.sampled_from([0, 40, 512]),
)
def test_whatever_comes_every_request_ends_with_its_own_answer(
    arrivals: list[tuple[int, str, int, int, Priority, int | None, bool]],
    can_rewind: bool,
    n_ctx: int,
    n_slots: int,
    n_kept: int,
    n_batch: int,
    max_kept_cells: int,
) -> None:
    house = House(
        n_ctx=n_ctx,
        n_slots=n_slots,
        n_batch=n_batch,
        can_rewind=can_rewind,
        n_kept=n_kept,
        max_kept_cells=max_kept_cells,
    )
    wanted: dict[str, tuple[str, int]] = {}
    cancels: list[tuple[int, str]] = []
    at = 0
    for pause, shared, own, n, priority, cancel_after, is_pinned in arrivals:
        for _ in range(pause):
            house.step()
            at += 1
            cancel_due(house, cancels, at)
        own_words = chr(ord("A") + len(wanted)) * own
        name = house.submit(own_words, n=n, priority=priority, before=shared, is_pinned=is_pinned)
        wanted[name] = (shared + own_words, n)
        if cancel_after is not None:
            cancels.append((at + cancel_after, name))
    while house.step():
        at += 1
        cancel_due(house, cancels, at)
        assert at < 20_000, "it never ends"
    cancelled = {
        name
        for sent in house.sent
        if isinstance(sent, Done) and sent.finish_reason is FinishReason.CANCELLED
        for name in [sent.id]
    }
    for name, (prompt, n) in wanted.items():
        if name in cancelled:
            assert serial_answer(prompt, n).startswith(house.text(name))
        else:
            assert house.done(name).finish_reason is FinishReason.LENGTH
            assert house.text(name) == serial_answer(prompt, n)
    counters = house.counters().counters
    assert (counters.running, counters.waiting, counters.swapped) == (0, 0, 0)


def cancel_due(house: House, cancels: list[tuple[int, str]], at: int) -> None:
    for due, name in list(cancels):
        if due <= at:
            cancels.remove((due, name))
            house.loop.abort(name)


def test_a_batch_that_fails_fails_only_the_request_that_is_guilty() -> None:
    house = House(n_slots=4)
    house.context.poison = ord("%")
    good = [house.submit(f"good {number}", n=6) for number in range(3)]
    bad = house.submit("this % is poison", n=6)
    house.run()
    assert [house.text(name) for name in good] == [serial_answer(f"good {number}", 6) for number in range(3)]
    assert [sent.id for sent in house.sent if isinstance(sent, Failed)] == [bad]


def test_a_model_that_can_not_rewind_fails_with_its_batch_and_goes_on() -> None:
    house = House(can_rewind=False)
    house.submit("one")
    house.context.outcomes = [EngineError("broken")]
    house.run()
    assert [sent.id for sent in house.sent if isinstance(sent, Failed)] == ["r0"]
    name = house.submit("two", n=3)
    house.run()
    assert house.text(name) == serial_answer("two", 3)


@pytest.mark.parametrize("can_rewind", [True, False])
def test_a_cache_that_is_fuller_than_the_books_say_is_cleared_and_the_answer_is_right(
    can_rewind: bool,
) -> None:
    house = House(can_rewind=can_rewind)
    kept = house.submit("something that stays in the cache", n=3)
    house.run()
    names = [house.submit(f"question {number}", n=5) for number in range(2)]
    house.step()
    house.context.outcomes = [Outcome.NO_ROOM, Outcome.NO_ROOM]
    house.run()
    assert house.done(kept)
    assert [house.text(name) for name in names] == [
        serial_answer(f"question {number}", 5) for number in range(2)
    ]


def test_a_request_that_has_no_room_even_alone_fails_with_a_remedy() -> None:
    house = House()
    house.submit("x")
    house.context.outcomes = [Outcome.NO_ROOM]
    house.run()
    failed = next(sent for sent in house.sent if isinstance(sent, Failed))
    assert "n_ctx" in failed.message


def test_a_cancel_of_one_interrupts_a_batch_and_leaves_the_others_their_answers() -> None:
    house = House(n_slots=2)
    stays = house.submit("stays", n=8)
    goes = house.submit("g" * 60, n=8)
    house.step()
    house.context.outcomes = [Outcome.ABORTED]
    house.step()
    house.loop.abort(goes)
    house.run()
    assert house.done(goes).finish_reason is FinishReason.CANCELLED
    assert house.text(stays) == serial_answer("stays", 8)


@pytest.mark.parametrize("can_rewind", [True, False])
def test_a_batch_is_stopped_for_a_cancel_only_where_that_spoils_nothing(can_rewind: bool) -> None:
    house = House(n_slots=2, can_rewind=can_rewind)
    stops: list[bool] = []
    decode = house.context.decode

    def look_then_decode(batch: object) -> Outcome:
        house.inbox._aborted.add("r0")
        stops.append(house.loop.should_stop())
        return decode(batch)  # type: ignore[arg-type]

    house.context.decode = look_then_decode  # type: ignore[method-assign]
    house.submit("one"), house.submit("two")
    house.step()
    assert stops == [can_rewind]
    assert not house.loop.should_stop(), "between two batches there is nothing to stop"


def test_usage_says_what_was_cached_and_how_long_a_request_waited() -> None:
    house = House(n_slots=1)
    first = house.submit("the same beginning of a prompt, one", n=3)
    second = house.submit("the same beginning of a prompt, two", n=3)
    house.run()
    assert house.done(first).usage.waited_s == pytest.approx(0.05), "one step of this clock"
    usage = house.done(second).usage
    assert usage.waited_s > 0.1
    assert usage.cached_tokens == len("the same beginning of a prompt, ")
    assert house.counters().counters.cached_resident_tokens == usage.cached_tokens
    progress = [sent.done_tokens for sent in house.sent if isinstance(sent, Progress) and sent.id == second]
    assert progress == [usage.cached_tokens, usage.prompt_tokens]


def test_a_pinned_prefix_is_found_again_and_forgotten_with_its_name() -> None:
    house = House()
    fixed = "You are an agent with a long and fixed description. "

    def ask(question: str) -> int:
        name = house.submit(question, n=2, before=fixed, is_pinned=True)
        house.run()
        house.loop._kv.evict_all_kept()
        return house.done(name).usage.cached_tokens

    assert ask("one?") == 0
    assert ask("two?") == len(fixed)
    house.loop.forget_prefix(f"pin of {fixed}")
    assert house.store.ram_bytes == 0, "what went on from it is gone too"
    assert ask("three?") == 0


def test_a_request_that_is_at_work_when_its_prefix_is_forgotten_does_not_bring_it_back() -> None:
    house = House(n_slots=1)
    fixed = "You are an agent with a long and fixed description. "
    reading = house.submit("one?", n=2, before=fixed, is_pinned=True)
    waiting = house.submit("two?", n=2, before=fixed, is_pinned=True)
    house.step()
    house.loop.forget_prefix(f"pin of {fixed}")
    house.run()
    assert [house.text(name) for name in (reading, waiting)] == [
        serial_answer(fixed + question, 2) for question in ("one?", "two?")
    ]
    house.loop._kv.evict_all_kept()
    assert house.store.ram_bytes == 0
    assert house.context.n_used() == 0


def test_also_the_part_of_a_forgotten_prefix_that_a_cancelled_request_left_is_gone() -> None:
    house = House(n_batch=32)
    fixed = "You are an agent with a long and fixed description. "
    cancelled = house.submit("one?", before=fixed, is_pinned=True)
    house.step()
    house.loop.abort(cancelled)
    assert 0 < house.context.n_used() < len(fixed)
    house.loop.forget_prefix(f"pin of {fixed}")
    assert house.context.n_used() == 0


def test_where_there_is_no_memory_to_read_a_state_back_its_tokens_are_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_seq_id: int, _data: State) -> bool:
        raise MemoryError

    house = House(n_ctx=128, n_slots=2, n_kept=1)
    monkeypatch.setattr(house.context, "restore", fail)
    first = house.submit("A" * 40, n=30, priority=Priority.BACKGROUND)
    house.run(until=lambda: house.text(first) != "")
    urgent = house.submit("B" * 70, n=30)
    house.run()
    counters = house.counters().counters
    assert (counters.swaps_out > 0, counters.swaps_in) == (True, 0)
    assert house.text(first) == serial_answer("A" * 40, 30)
    assert house.text(urgent) == serial_answer("B" * 70, 30)


@pytest.mark.parametrize("error", [MemoryError(), EngineError("could not be saved")], ids=repr)
def test_where_no_state_can_be_saved_every_request_is_answered_all_the_same(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_seq_id: int) -> State:
        raise error

    house = House(n_ctx=128, n_slots=2, n_kept=1)
    monkeypatch.setattr(house.context, "save", fail)
    monkeypatch.setattr(house.context, "state_bytes", lambda _: 100)
    fixed = "You are an agent with a long and fixed description. "
    first = house.submit("A" * 40, n=30, priority=Priority.BACKGROUND)
    house.run(until=lambda: house.text(first) != "")
    urgent = [house.submit(question, n=30, before=fixed, is_pinned=True) for question in ("one?", "two?")]
    house.run()
    assert house.counters().counters.swaps_out > 0, "the background request had to give way"
    assert house.text(first) == serial_answer("A" * 40, 30)
    assert [house.text(name) for name in urgent] == [
        serial_answer(fixed + question, 30) for question in ("one?", "two?")
    ]
    assert house.store.ram_bytes == 0


def test_limits_hold_background_work_back_and_bound_the_threads() -> None:
    house = House()
    name = house.submit("later", priority=Priority.BACKGROUND)
    house.loop.set_limits(PowerLimits(max_threads=1, background=False))
    assert not house.step()
    assert house.context.n_threads == 1
    house.loop.set_limits(PowerLimits())
    house.run()
    assert house.context.n_threads == 2
    assert house.text(name) == serial_answer("later", 4)


def test_an_id_that_is_in_work_is_refused() -> None:
    house = House()
    house.submit("one")
    house._numbers = itertools.count()
    with pytest.raises(EngineError, match="id"):
        house.submit("two")


def test_counters_come_while_it_works_and_at_the_end() -> None:
    house = House()
    house.submit("a long answer", n=40)
    house.run()
    told = [sent.counters for sent in house.sent if isinstance(sent, Counters)]
    assert len(told) >= 4
    assert [counters.running for counters in told] == [1] * (len(told) - 2) + [0, 0]
    assert told[-1].generated_tokens == 40
    assert told[-1].kv_cells == 256
