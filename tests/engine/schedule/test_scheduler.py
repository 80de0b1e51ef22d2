"""Many sequences under one budget: who gets on, who gives way, and that everybody comes to an end."""

import pytest

from engine.core import Priority
from engine.model import CacheSpec, KvType
from engine.schedule.batch import Batch
from engine.schedule.kv_cache import MAX_KEPT_CELLS, KvCache
from engine.schedule.scheduler import (
    AGED_S,
    PATIENCE_S,
    SHARE_EVERY_S,
    SHARE_TOKENS,
    SPARE_SLOTS,
    Scheduler,
)
from engine.schedule.sequence import PinPoint, Sequence, Stage, common_prefix
from engine.states.snapshots import SnapshotStore, StateIdentity
from tests.engine.fake_context import FakeContext

IDENTITY = StateIdentity(model="m", build="b", kv_type=KvType.F16, flash_attention=False, n_ctx=4096)


class House:
    """A scheduler over a cache that checks every cell; computed batches answer with the next token of each sequence."""

    def __init__(
        self,
        *,
        n_cells: int = 1024,
        n_slots: int = 4,
        n_batch: int = 64,
        n_kept: int = 4,
        chunk: int = 64,
        can_rewind: bool = True,
        cache: CacheSpec | None = None,
    ) -> None:
        n_ids = n_slots + SPARE_SLOTS + n_kept
        self.context = FakeContext(n_ctx=n_cells, n_seq_ids=n_ids, can_rewind=can_rewind)
        self.store = SnapshotStore(cache or CacheSpec(), identity=IDENTITY, can_rewind=can_rewind, note=print)
        self.kv = KvCache(
            memory=self.context,
            snapshots=self.store,
            n_cells=n_cells,
            n_ids=n_ids,
            can_rewind=can_rewind,
        )
        self.guesses: dict[str, list[int]] = {}
        self.scheduler = Scheduler(
            kv=self.kv,
            n_slots=n_slots,
            n_batch=n_batch,
            chunk_tokens=lambda _priority, _writing: chunk,
            draft=lambda sequence, limit: self.guesses.get(sequence.request_id, [])[:limit],
        )
        self.now = 0.0
        self.n_arrived = 0

    def add(
        self,
        name: str,
        prompt: list[int],
        *,
        priority: Priority = Priority.NORMAL,
        pin: PinPoint | None = None,
    ) -> Sequence:
        sequence = Sequence(
            request_id=name,
            tokens=list(prompt),
            n_prompt=len(prompt),
            priority=priority,
            arrival=self.n_arrived,
            pin=pin,
        )
        self.n_arrived += 1
        self.scheduler.add(sequence, self.now)
        return sequence

    def step(self, seconds: float = 0.01) -> Batch | None:
        """Compute one batch; each sequence whose tokens are all computed gets another one."""
        self.now += seconds
        batch = self.scheduler.schedule(self.now)
        if batch is not None:
            self.context.decode(batch)
            self.scheduler.update(batch, self.now)
            for run in batch.runs:
                if run.n_outputs:
                    run.sequence.tokens.append(7)
        self.scheduler.check_integrity()
        assert self.context.n_used() == self.kv.n_used
        return batch


def names(batch: Batch | None) -> dict[str, int]:
    """Who is in a batch, with how many tokens."""
    return {} if batch is None else {run.sequence.request_id: len(run.tokens) for run in batch.runs}


def words(start: int, n: int) -> list[int]:
    return list(range(start, start + n))


def test_a_prompt_is_read_in_chunks_and_then_written_token_by_token() -> None:
    house = House(chunk=10)
    work = house.add("a", words(0, 25))
    assert [names(house.step()) for _ in range(5)] == [{"a": 10}, {"a": 10}, {"a": 5}, {"a": 1}, {"a": 1}]
    assert (work.n_generated, work.n_pending) == (3, 1)


def test_those_who_write_share_the_batch_with_a_chunk_of_a_prompt() -> None:
    house = House(chunk=10)
    for number in range(3):
        house.add(f"w{number}", words(100 * number, 5))
    house.step(), house.step()
    house.add("reader", words(1000, 25))
    assert names(house.step()) == {"w0": 1, "w1": 1, "w2": 1, "reader": 10}


def test_several_short_prompts_fit_into_one_batch_the_oldest_first() -> None:
    house = House(chunk=20)
    for number in range(3):
        house.add(f"p{number}", words(100 * number, 8))
    assert names(house.step()) == {"p0": 8, "p1": 8, "p2": 4}


def test_a_lower_class_stands_back_at_once_and_goes_on_afterwards() -> None:
    house = House()
    house.add("low", words(0, 500), priority=Priority.BACKGROUND)
    assert names(house.step()) == {"low": 64}
    urgent = house.add("high", words(1000, 70), priority=Priority.INTERACTIVE)
    assert [names(house.step()) for _ in range(3)] == [{"high": 64}, {"high": 6}, {"high": 1}]
    house.scheduler.remove(urgent)
    assert names(house.step()) == {"low": 64}
    assert house.scheduler.n_preemptions == 1


def test_background_work_can_be_held_back_and_let_go_on() -> None:
    house = House()
    house.add("low", words(0, 10), priority=Priority.BACKGROUND)
    house.scheduler.allow_background(False)
    assert house.step() is None
    house.add("normal", words(50, 10))
    assert names(house.step()) == {"normal": 10}
    house.scheduler.allow_background(True)
    house.scheduler.remove(next(iter(house.scheduler._running)))
    assert names(house.step()) == {"low": 10}


def test_when_all_slots_are_taken_a_lower_class_gives_one_up_and_computes_nothing_twice() -> None:
    house = House(n_slots=2)
    house.add("b0", words(0, 30), priority=Priority.BACKGROUND)
    junior = house.add("b1", words(100, 30), priority=Priority.BACKGROUND)
    house.step()
    urgent = house.add("high", words(1000, 5), priority=Priority.INTERACTIVE)
    assert names(house.step()) == {"high": 5}
    assert junior.stage is Stage.SWAPPED
    assert house.scheduler.n_swapped == 1
    house.scheduler.remove(urgent)
    before = junior.n_computed
    assert names(house.step()) == {"b0": 1, "b1": 1}
    assert junior.n_computed == before + 1
    assert house.context.tokens(junior.slot.seq_id) == junior.tokens[:-1]  # type: ignore[union-attr]


def test_when_cells_run_out_the_most_junior_gives_way_and_the_senior_gets_on() -> None:
    house = House(n_cells=128, n_slots=3, n_kept=0)
    senior = house.add("senior", words(0, 50))
    junior = house.add("junior", words(1000, 50))
    while len(senior.tokens) < 120:
        assert "senior" in names(house.step())
    assert junior.stage is Stage.SWAPPED
    written = junior.n_generated
    house.scheduler.remove(senior)
    house.step()
    assert junior.stage is Stage.RUNNING
    assert junior.n_generated == written + 1


def test_a_neglected_sequence_gets_a_small_share_about_once_a_second() -> None:
    house = House()
    poor = house.add("poor", words(0, 200), priority=Priority.BACKGROUND)
    house.add("rich", words(1000, 5), priority=Priority.INTERACTIVE)
    while house.now < AGED_S + 10:
        house.step(0.05)
    shares = poor.n_computed / SHARE_TOKENS
    assert 9 / SHARE_EVERY_S <= shares <= 12 / SHARE_EVERY_S


def test_a_neglected_sequence_gets_on_even_when_the_others_hold_every_slot_and_every_cell() -> None:
    house = House(n_cells=128, n_slots=1, n_kept=0)
    rich = house.add("rich", words(1000, 100), priority=Priority.INTERACTIVE)
    poor = house.add("poor", words(0, 60), priority=Priority.BACKGROUND)
    while house.now < PATIENCE_S + AGED_S + 1:
        if len(rich.tokens) < 127:
            house.step(0.2)
        else:  # it writes for ever: the next one of its kind follows at once
            house.scheduler.remove(rich)
            rich = house.add(f"rich at {house.now}", words(1000, 100), priority=Priority.INTERACTIVE)
    assert poor.n_computed >= SHARE_TOKENS
    assert rich.n_computed > 0


def test_requests_that_begin_alike_wait_for_the_first_instead_of_reading_twice() -> None:
    house = House(chunk=50)
    prompt = words(0, 300)
    house.add("first", prompt)
    house.step()
    second = house.add("second", [*prompt[:250], *words(5000, 20)])
    third = house.add("third", prompt)
    other = house.add("other", words(9000, 10))
    read = 0
    while second.n_generated == 0 or third.n_generated == 0:
        batch = house.step()
        assert batch is not None
        read += sum(len(run.tokens) for run in batch.runs)
    assert other.n_generated > 0, "who begins differently does not wait"
    assert second.n_cached == 250
    assert third.n_cached == 299
    assert read < 250 + 20 + 10 + 60


def test_a_follower_does_not_wait_for_a_leader_that_went_away() -> None:
    house = House(chunk=10)
    leader = house.add("leader", words(0, 300))
    house.step()
    house.add("follower", words(0, 300))
    house.step()
    house.scheduler.remove(leader)
    assert names(house.step()) == {"follower": 10}


def test_a_finished_prompt_serves_the_next_one_that_begins_alike() -> None:
    house = House()
    first = house.add("first", words(0, 40))
    house.step()
    house.scheduler.remove(first)
    second = house.add("second", [*words(0, 40), *words(500, 5)])
    assert names(house.step()) == {"second": 5}
    assert second.n_cached == 40


def test_at_least_the_last_token_is_computed() -> None:
    house = House()
    first = house.add("first", words(0, 40))
    house.step()
    house.scheduler.remove(first)
    house.add("again", words(0, 40))
    assert names(house.step()) == {"again": 1}


def test_a_model_that_can_not_rewind_goes_on_only_from_whole_prefixes() -> None:
    house = House(can_rewind=False)
    first = house.add("first", words(0, 40))
    house.step()
    house.scheduler.remove(first)
    house.add("other", [*words(0, 30), *words(500, 10)])
    assert names(house.step()) == {"other": 40}
    longer = house.add("longer", [*words(0, 40), *words(900, 5)])
    assert names(house.step()) == {"other": 1, "longer": 5}
    assert longer.n_cached == 40


def test_a_chunk_ends_where_the_pinned_prefix_ends_and_its_state_is_kept() -> None:
    house = House()
    prompt = words(0, 60)
    first = house.add("first", prompt, pin=PinPoint(name="agent", n_tokens=45))
    assert names(house.step()) == {"first": 45}
    assert house.store.is_pinned(prompt[:45], "agent")
    assert names(house.step()) == {"first": 15}
    house.scheduler.remove(first)
    house.kv.evict_all_kept()
    second = house.add("second", [*prompt[:45], *words(700, 9)], pin=PinPoint(name="agent", n_tokens=45))
    assert names(house.step()) == {"second": 9}
    assert second.n_cached == 45
    assert house.kv.tally.ram == 45


def test_guesses_ride_along_and_only_those_that_stand_stay_in_the_cache() -> None:
    house = House()
    work = house.add("a", words(0, 10))
    house.step()
    house.guesses["a"] = [7, 7, 9]
    batch = house.scheduler.schedule(house.now)
    assert batch is not None
    run = batch.runs[0]
    assert (run.tokens, run.n_drafts, run.n_outputs) == ([7, 7, 7, 9], 3, 4)
    house.context.decode(batch)
    house.scheduler.update(batch, house.now)
    work.tokens += [7, 7, 8]  # two guesses stand, then the model wanted something else
    house.scheduler.settle(run, 2)
    house.scheduler.check_integrity()
    assert work.n_pending == 1
    assert house.context.tokens(work.slot.seq_id) == work.tokens[:-1]  # type: ignore[union-attr]


def test_guesses_take_no_cell_that_another_one_needs_for_its_next_token() -> None:
    house = House(n_cells=36)
    for number, name in enumerate("abc"):
        house.add(name, words(100 * number, 10))
    house.step()
    house.guesses["a"] = [7] * 8
    batch = house.scheduler.schedule(house.now)
    assert batch is not None
    assert {run.sequence.request_id: len(run.tokens) for run in batch.runs} == {"a": 4, "b": 1, "c": 1}
    assert house.scheduler.n_preemptions == 0


def test_an_aborted_batch_leaves_the_books_as_they_were() -> None:
    house = House()
    work = house.add("a", words(0, 30))
    batch = house.scheduler.schedule(house.now)
    assert batch is not None
    house.scheduler.revert(batch)
    house.scheduler.check_integrity()
    assert house.kv.n_used == 0
    assert names(house.step()) == {"a": 30}
    assert work.n_computed == 30


def test_an_aborted_batch_of_a_model_that_can_not_rewind_begins_anew() -> None:
    house = House(can_rewind=False, chunk=20)
    work = house.add("a", words(0, 30))
    house.step()
    batch = house.scheduler.schedule(house.now)
    assert batch is not None
    house.scheduler.revert(batch)
    assert work.n_computed == 0
    assert [names(house.step()) for _ in range(3)] == [{"a": 20}, {"a": 10}, {"a": 1}]


def test_contradicting_counters_are_a_bug_that_shows() -> None:
    work = Sequence(request_id="a", tokens=[1, 2], n_prompt=2)
    work.n_computed = 3
    with pytest.raises(RuntimeError, match="inconsistent"):
        work.check_integrity()


def test_the_common_prefix_is_found_at_any_length() -> None:
    for size in (0, 1, 31, 32, 33, 64, 500, 7000):
        left, right = [*words(0, size), -1, 5], [*words(0, size), -2, 5]
        assert common_prefix(left, right) == size
        assert common_prefix(left, right, 40) == min(size, 40)
    assert common_prefix([1, 2], [1, 2, 3]) == 2


def test_kept_prefixes_beyond_their_share_move_to_the_store_and_are_found_there() -> None:
    house = House(n_cells=2048, n_batch=512, chunk=512)
    works = [house.add(f"w{number}", words(10_000 * number, 200)) for number in range(3)]
    for _ in range(4):
        house.step()
    for work in works:
        house.scheduler.remove(work)
    assert house.kv.n_used >= 600
    assert house.kv.relieve()
    assert 400 <= house.kv.n_used < 600, "one at a time, so that nobody waits for long"
    while house.kv.relieve():
        pass
    assert 0 < house.kv.n_used <= MAX_KEPT_CELLS
    again = house.add("again", [*words(0, 200), *words(500, 3)])
    house.step()
    assert again.n_cached == 200
    assert house.kv.tally.ram == 200


def test_who_begins_alone_finds_the_cache_empty_but_for_what_it_needs() -> None:
    house = House(n_cells=2048, n_batch=512, chunk=512)
    works = [house.add(f"w{number}", words(10_000 * number, 100)) for number in range(3)]
    for _ in range(4):
        house.step()
    for work in works:
        house.scheduler.remove(work)
    begun = house.add("next", [*words(0, 100), *words(700, 5)])
    house.step()
    assert begun.n_cached == 100
    assert house.kv.n_used == 105
    assert house.kv.tally.resident == 100
    beside = house.add("beside", [*words(10_000, 100), *words(700, 5)])
    house.step()
    assert beside.n_cached == 100
    assert house.kv.tally.ram == 100


def test_a_prefix_that_the_store_could_hardly_hold_keeps_its_place() -> None:
    house = House(n_cells=1024, n_batch=512, chunk=512, cache=CacheSpec(ram_bytes=1000))
    work = house.add("w", words(0, 600))
    for _ in range(4):
        house.step()
    house.scheduler.remove(work)
    assert house.kv.n_used > MAX_KEPT_CELLS
    assert not house.kv.relieve()
    assert house.kv.n_used > MAX_KEPT_CELLS
