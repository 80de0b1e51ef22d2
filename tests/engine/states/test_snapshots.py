"""States in RAM and on disk: what is kept, what goes first, what is owed, and what never comes back."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.states.sealing import CHUNK_BYTES
from engine.states.snapshots import SnapshotStore, Tier
from tests.engine.snapshot_support import SETTLE_S, make_store, read, state

SYSTEM = [1, 2, 3]
MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SnapshotStore]:
    store = make_store(tmp_path / "cache", ram_bytes=2500)
    yield store
    store.check_integrity()
    store.close()


@pytest.fixture
def ram() -> Iterator[SnapshotStore]:
    store = make_store(ram_bytes=2500)
    yield store
    store.check_integrity()
    store.close()


def test_the_state_that_shares_most_is_found(ram: SnapshotStore) -> None:
    ram.put([1, 2], state([1, 2]))
    ram.put([1, 2, 3, 4], state([1, 2, 3, 4]))
    hit = ram.find([1, 2, 3, 9])
    assert hit is not None
    assert (hit.n_tokens, hit.n_state_tokens, hit.tier) == (3, 4, Tier.RAM)
    assert hit.read() == state([1, 2, 3, 4])
    assert ram.find([7]) is None
    assert ram.find([]) is None


def test_a_model_that_cannot_rewind_gets_only_whole_states() -> None:
    store = make_store(can_rewind=False)
    store.put([1, 2], state([1, 2]))
    store.put([1, 2, 3, 4], state([1, 2, 3, 4]))
    assert read(store, [1, 2, 3, 9]) == (2, state([1, 2]))
    assert read(store, [1, 2, 3, 4, 5]) == (4, state([1, 2, 3, 4]))
    assert store.find([1, 9]) is None


def test_of_equal_states_the_one_in_ram_is_taken_then_the_smallest(store: SnapshotStore) -> None:
    store.put([1, 2, 3], state([1, 2, 3]))
    store.put([8], state([8]))
    store.put([9], state([9]))  # drives [1, 2, 3] to the disk
    assert store.settle(SETTLE_S)
    store.put([1, 2, 4, 4], state([1, 2, 4, 4]))
    assert store.settle(SETTLE_S)
    hit = store.find([1, 2])
    assert hit is not None
    assert (hit.n_state_tokens, hit.tier) == (4, Tier.RAM)
    store.put([1, 2, 5], state([1, 2, 5]))
    smaller = store.find([1, 2])
    assert smaller is not None
    assert smaller.n_state_tokens == 3


def test_without_a_disk_the_least_recently_used_is_dropped(ram: SnapshotStore) -> None:
    for token in (1, 2):
        ram.put([token], state([token]))
    assert read(ram, [1]) == (1, state([1]))
    ram.put([3], state([3]))
    assert ram.find([2]) is None
    assert ram.find([1]) is not None
    assert (ram.ram_bytes, ram.disk_bytes) == (2000, 0)


def test_what_overflows_goes_to_disk_and_comes_back_into_ram(store: SnapshotStore, tmp_path: Path) -> None:
    for token in range(1, 6):
        store.put([token], state([token]))
    assert store.settle(SETTLE_S)
    assert store.ram_bytes == 2000
    assert store.disk_bytes == 3 * CHUNK_BYTES
    hit = store.find([1])
    assert hit is not None
    assert hit.tier is Tier.DISK
    assert hit.read() == state([1])
    again = store.find([1])
    assert again is not None
    assert again.tier is Tier.RAM
    assert (
        list((tmp_path / "cache").iterdir()) == []
    )  # the overflow has no name that a crash could leave behind


def test_the_disk_too_has_a_limit_and_forgets_the_least_recently_used(tmp_path: Path) -> None:
    store = make_store(tmp_path, ram_bytes=1000, disk_bytes=2 * CHUNK_BYTES)
    for token in range(1, 6):
        store.put([token], state([token]))
        assert store.settle(SETTLE_S)
    assert [token for token in range(1, 6) if store.find([token])] == [3, 4, 5]
    assert store.disk_bytes == 2 * CHUNK_BYTES
    store.check_integrity()
    store.close()


def test_a_state_that_is_larger_than_ram_goes_to_disk_and_drives_nobody_out(store: SnapshotStore) -> None:
    store.put([1], state([1]))
    store.put([2], state([2], 3000))
    store.put([3], state([3], 3000), pin="agent")
    assert store.settle(SETTLE_S)
    assert store.ram_bytes == 1000
    assert [hit.tier for token in (1, 2, 3) if (hit := store.find([token]))] == [
        Tier.RAM,
        Tier.DISK,
        Tier.DISK,
    ]
    assert read(store, [2]) == (1, state([2], 3000))
    assert read(store, [3]) == (1, state([3], 3000))
    assert read(store, [1]) == (1, state([1]))


def test_a_pinned_prefix_outlives_the_process_and_nothing_else_does(tmp_path: Path) -> None:
    first = make_store(tmp_path)
    first.put(SYSTEM, state(SYSTEM), pin="agent")
    first.put([8, 9], state([8, 9]))
    first.close()
    second = make_store(tmp_path)
    assert second.is_pinned(SYSTEM, "agent")
    hit = second.find([*SYSTEM, 4])
    assert hit is not None
    assert (hit.n_tokens, hit.tier) == (3, Tier.DISK)
    assert hit.read() == state(SYSTEM)
    assert second.find([8, 9]) is None
    second.check_integrity()
    second.close()


def test_a_pinned_prefix_is_driven_from_ram_only_once_it_is_on_disk(store: SnapshotStore) -> None:
    store.put(SYSTEM, state(SYSTEM), pin="agent")
    for token in range(5, 9):
        store.put([token], state([token]))
    assert store.settle(SETTLE_S)
    assert read(store, SYSTEM) == (3, state(SYSTEM))


def test_without_a_disk_a_pinned_prefix_is_dropped_last(ram: SnapshotStore) -> None:
    ram.put(SYSTEM, state(SYSTEM), pin="agent")
    for token in range(5, 9):
        ram.put([token], state([token]))
    assert read(ram, SYSTEM) == (3, state(SYSTEM))
    ram.put([10], state([10]), pin="b")
    ram.put([11], state([11]), pin="c")
    assert ram.find(SYSTEM) is None
    assert ram.ram_bytes <= 2500


def test_the_same_name_with_other_tokens_replaces_the_old_prefix(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM), pin="agent")
    assert store.settle(SETTLE_S)
    store.put([7, 8], state([7, 8]), pin="agent")
    assert store.find(SYSTEM) is None
    assert not store.is_pinned(SYSTEM, "agent")
    store.check_integrity()
    store.close()
    again = make_store(tmp_path)
    assert again.find(SYSTEM) is None
    assert read(again, [7, 8]) == (2, state([7, 8]))
    assert len(list(tmp_path.iterdir())) == 1
    again.close()


def test_two_names_for_the_same_tokens_are_two_owners(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM), pin="one")
    store.put(SYSTEM, state(SYSTEM), pin="two")
    assert store.settle(SETTLE_S)
    store.forget("one")
    assert read(store, SYSTEM) == (3, state(SYSTEM))
    store.close()
    again = make_store(tmp_path)
    assert again.is_pinned(SYSTEM, "two")
    assert not again.is_pinned(SYSTEM, "one")
    again.forget("two")
    assert again.find(SYSTEM) is None
    assert list(tmp_path.iterdir()) == []
    again.close()


def test_what_is_forgotten_is_gone_with_all_that_goes_on_from_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM), pin="agent")
    store.put([*SYSTEM, 4], state([*SYSTEM, 4]))
    store.put([*SYSTEM, 5], state([*SYSTEM, 5]), pin="other")
    store.put([1, 2], state([1, 2]))
    store.park("r", [*SYSTEM, 6], state([*SYSTEM, 6]))
    store.forget("agent")
    assert read(store, [*SYSTEM, 4]) == (3, state([*SYSTEM, 5]))  # another pin names it
    assert store.unpark("r") == state([*SYSTEM, 6])  # owed to a running request
    store.forget("other")
    assert read(store, [*SYSTEM, 5]) == (2, state([1, 2]))
    assert list(tmp_path.iterdir()) == []
    store.forget("nobody")
    store.check_integrity()
    store.close()


def test_a_prefix_is_forgotten_for_every_model_that_computed_it(tmp_path: Path) -> None:
    for model in ("large", "small"):
        store = make_store(tmp_path, model=model)
        store.put(SYSTEM, state(SYSTEM), pin="agent")
        store.close()
    assert len(list(tmp_path.iterdir())) == 2
    store = make_store(tmp_path, model="third")
    store.forget("agent")
    assert list(tmp_path.iterdir()) == []
    store.close()


@pytest.mark.parametrize("part", ["model", "build"])
def test_a_state_of_another_model_or_build_is_not_found_and_stays(tmp_path: Path, part: str) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM), pin="agent")
    store.close()
    other = make_store(tmp_path, **{part: "other"})
    assert other.find(SYSTEM) is None
    other.close()
    again = make_store(tmp_path)
    assert again.find(SYSTEM) is not None
    again.close()


def test_with_another_key_nothing_is_found_and_nothing_is_destroyed(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM), pin="agent")
    store.close()
    stranger = make_store(tmp_path, key="77" * 32)
    assert stranger.find(SYSTEM) is None
    stranger.close()
    again = make_store(tmp_path)
    assert read(again, SYSTEM) == (3, state(SYSTEM))
    again.close()


@pytest.mark.parametrize("key", [None, "", "5a", "no hex at all"])
def test_without_a_good_key_nothing_is_written(tmp_path: Path, key: str | None) -> None:
    notes: list[str] = []
    store = make_store(tmp_path / "cache", key=key, ram_bytes=1500, notes=notes)
    for token in (1, 2):
        store.put([token], state([token]), pin=str(token))
    store.close()
    assert not (tmp_path / "cache").exists()
    assert len(notes) == (0 if key is None else 1)


def test_parked_states_are_owed_also_beyond_the_limit_on_ram(ram: SnapshotStore) -> None:
    ram.put([1], state([1]))
    for token in range(2, 7):
        ram.park(f"r{token}", [token], state([token]))
    assert ram.ram_bytes == 5000
    assert ram.find([1]) is None  # a cached one makes room first
    for token in range(2, 7):
        assert ram.unpark(f"r{token}") == state([token])
        assert ram.unpark(f"r{token}") is None
    assert ram.ram_bytes == 0


def test_parked_states_go_to_disk_beyond_the_limit_on_ram(store: SnapshotStore) -> None:
    for token in range(1, 7):
        store.park(f"r{token}", [token], state([token], 1000 + token))
    assert store.settle(SETTLE_S)
    assert store.ram_bytes <= 2500
    assert store.disk_bytes == 4 * CHUNK_BYTES
    for token in range(1, 7):
        assert store.unpark(f"r{token}") == state([token], 1000 + token)
    assert (store.ram_bytes, store.disk_bytes) == (0, 0)


def test_parked_states_that_no_disk_takes_stay_in_ram(tmp_path: Path) -> None:
    store = make_store(tmp_path, ram_bytes=1000, disk_bytes=CHUNK_BYTES)
    for token in range(1, 5):
        store.park(str(token), [token], state([token]))
        assert store.settle(SETTLE_S)
    store.put([9], state([9]))
    assert [bytes(store.unpark(str(token)) or b"") for token in range(1, 5)] == [
        state([token]) for token in range(1, 5)
    ]
    store.check_integrity()
    store.close()


def test_a_parked_state_also_serves_others_until_it_is_dropped(ram: SnapshotStore) -> None:
    ram.park("r", SYSTEM, state(SYSTEM))
    assert read(ram, [*SYSTEM, 4]) == (3, state(SYSTEM))
    ram.drop_parked("r")
    ram.drop_parked("r")
    assert ram.find(SYSTEM) is None


def test_parking_again_replaces_the_state(ram: SnapshotStore) -> None:
    ram.park("r", [1], state([1]))
    ram.park("r", [1, 2], state([1, 2]))
    assert ram.unpark("r") == state([1, 2])
    assert ram.find([1]) is None


def test_a_hit_that_was_dropped_in_between_reads_nothing(ram: SnapshotStore) -> None:
    ram.put([1], state([1]))
    hit = ram.find([1])
    assert hit is not None
    for token in (2, 3, 4):
        ram.put([token], state([token]))
    assert hit.read() is None


def test_after_the_end_the_store_is_empty_and_takes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.park("r", [1], state([1]))
    store.close()
    store.put([2], state([2]), pin="late")
    store.park("s", [3], state([3]))
    assert store.unpark("r") is None
    assert store.unpark("s") is None
    assert store.find([2]) is None
    store.close()
    assert store.ram_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_each_of_a_thousand_small_states_is_found() -> None:
    store = make_store(ram_bytes=10 * MIB)
    prompts = [[token, *range(200)] for token in range(1000)]
    for prompt in prompts:
        store.put(prompt, state(prompt, 16))
    assert all(read(store, [*prompt, 1]) == (201, state(prompt, 16)) for prompt in prompts)
    store.close()


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(ram_states=st.integers(0, 6), asked=st.lists(st.tuples(st.booleans(), TOKENS), max_size=40))
def test_in_ram_the_store_does_what_a_list_in_the_order_of_use_would(
    ram_states: int, asked: list[tuple[bool, list[int]]]
) -> None:
    store = make_store(ram_bytes=10 * ram_states)
    naive: list[list[int]] = []  # least recently used first
    for is_put, tokens in asked:
        if is_put:
            store.put(tokens, state(tokens, 10))
            naive = (
                ([kept for kept in naive if kept != tokens] + [tokens])[-ram_states:] if ram_states else []
            )
            continue
        hit = store.find(tokens)
        shared = {tuple(kept): _common(kept, tokens) for kept in naive}
        best = max(shared.values(), default=0)
        assert (hit.n_tokens if hit else 0) == best
        if hit is not None:
            fitting = [list(kept) for kept, n_tokens in shared.items() if n_tokens == best]
            found = next(kept for kept in fitting if state(kept, 10) == hit.read())
            assert hit.n_state_tokens == len(found) == min(map(len, fitting))
            naive = [kept for kept in naive if kept != found] + [found]
    store.check_integrity()
    assert store.ram_bytes == 10 * len(naive)


def _common(one: list[int], other: list[int]) -> int:
    return next(
        (n for n in range(min(len(one), len(other)), 0, -1) if one[:n] == other[:n]),
        0,
    )


class StoreWithDisk(RuleBasedStateMachine):
    """Whatever is asked in whatever order: right data or none, what is owed comes back, what is forgotten does not."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = self.folder / secrets.token_hex(4)
        self.store = self.open()
        self.pins: dict[str, list[int]] = {}
        self.parked: dict[str, list[int]] = {}

    def open(self) -> SnapshotStore:
        return make_store(self.home, ram_bytes=300, disk_bytes=40 * CHUNK_BYTES)

    @rule(tokens=TOKENS)
    def put(self, tokens: list[int]) -> None:
        self.store.put(tokens, state(tokens, 100))

    @rule(tokens=TOKENS, name=st.sampled_from("ab"))
    def pin(self, tokens: list[int], name: str) -> None:
        self.store.put(tokens, state(tokens, 100), pin=name)
        self.pins[name] = tokens

    @rule(name=st.sampled_from("ab"))
    def forget(self, name: str) -> None:
        self.store.forget(name)
        tokens = self.pins.pop(name, None)
        if tokens is not None and tokens not in [*self.pins.values(), *self.parked.values()]:
            hit = self.store.find(tokens)
            assert hit is None or (hit.n_tokens, hit.n_state_tokens) != (len(tokens), len(tokens))

    @rule(tokens=TOKENS, name=st.sampled_from("xyz"))
    def park(self, tokens: list[int], name: str) -> None:
        self.store.park(name, tokens, state(tokens, 100))
        self.parked[name] = tokens

    @rule(name=st.sampled_from("xyz"))
    def unpark(self, name: str) -> None:
        tokens = self.parked.pop(name, None)
        assert self.store.unpark(name) == (None if tokens is None else state(tokens, 100))

    @rule(tokens=TOKENS)
    def look(self, tokens: list[int]) -> None:
        hit = self.store.find(tokens)
        owed = [*self.pins.values(), *self.parked.values()]
        assert (hit.n_tokens if hit else 0) >= max((_common(kept, tokens) for kept in owed), default=0)
        if hit is not None:
            data = hit.read()
            start = tokens[: hit.n_tokens]
            fitting = [[*start, *rest] for rest in _all_tokens(hit.n_state_tokens - hit.n_tokens)]
            assert data in [state(kept, 100) for kept in fitting]

    @rule()
    def wait(self) -> None:
        assert self.store.settle(SETTLE_S)
        assert self.store.ram_bytes <= 300

    @precondition(lambda self: not self.parked)
    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.open()
        for name, tokens in self.pins.items():
            assert self.store.is_pinned(tokens, name)

    @invariant()
    def the_books_agree(self) -> None:
        self.store.check_integrity()

    def teardown(self) -> None:
        self.store.close()


def _all_tokens(n_tokens: int) -> list[list[int]]:
    if n_tokens == 0:
        return [[]]
    return [[token, *rest] for token in range(3) for rest in _all_tokens(n_tokens - 1)]


def test_in_any_order_of_calls_the_store_keeps_its_word(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Machine", (StoreWithDisk,), {"folder": tmp_path})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
