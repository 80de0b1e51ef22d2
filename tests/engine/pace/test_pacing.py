"""The thread governor on simulated machines, and the size of chunks; all times are simulated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pace.pacing import ChunkSizer, MachineLoad, ThreadGovernor

REACTION_S = 0.5
NOISE = 0.05


@dataclass(frozen=True, kw_only=True)
class Computer:
    """Tokens a second for (threads, programs that keep a core busy), for one token in a batch."""

    n_cpus: int
    rate: Callable[[int, int], float]


def table(n_cpus: int, rates: dict[tuple[int, int], float]) -> Computer:
    return Computer(n_cpus=n_cpus, rate=lambda n_threads, taken: rates[n_threads, taken])


# with AMX: one thread on a taken core stops all others
COLLAPSING = table(2, {(1, 0): 60, (2, 0): 110, (1, 1): 57, (2, 1): 7, (1, 2): 35, (2, 2): 5})
# the second thread brings little, yet two get more of two taken cores than one
STEADY = table(2, {(1, 0): 110, (2, 0): 175, (1, 1): 105, (2, 1): 130, (1, 2): 56, (2, 2): 100})
# two threads that spin for 500 looks at most: worse than one where a core is taken, not hopeless
PATIENT = table(2, {(1, 0): 167, (2, 0): 184, (1, 1): 95, (2, 1): 45, (1, 2): 60, (2, 2): 40})


def _many_cores(n_threads: int, taken: int) -> float:
    alone = 20.0 * n_threads / (1 + 0.03 * n_threads)
    return alone if n_threads + taken <= 8 else alone / 6


MANY_CORES = Computer(n_cpus=8, rate=_many_cores)


class Simulation:
    """Decodes in simulated time; the probe tells what Linux would, unless it is blind."""

    def __init__(
        self, computer: Computer, *, blind: bool = False, noise: float = NOISE, seed: int = 1
    ) -> None:
        self.computer = computer
        self.time_s = 0.0
        self.taken = 0
        self.n_tokens = 0.0
        self.choices: list[tuple[float, int]] = []
        self._blind = blind
        self._noise = noise
        self._random = random.Random(seed)
        self._looked_s = 0.0
        self._free = self._waiting = 0.0  # core seconds since the last look
        self.governor = ThreadGovernor(max_threads=computer.n_cpus, probe=self, now=lambda: self.time_s)

    def look(self) -> MachineLoad:
        since_s, self._looked_s = self.time_s - self._looked_s, self.time_s
        free, waiting, self._free, self._waiting = self._free, self._waiting, 0.0, 0.0
        if self._blind or since_s <= 0:
            return MachineLoad()
        return MachineLoad(free_cpus=free / since_s, waiting=waiting / since_s)

    def step(self, n_tokens: int = 1, *, background: bool = False) -> int:
        n_threads = self.governor.threads_for(n_tokens, background=background)
        wall_s = n_tokens / self.computer.rate(n_threads, self.taken)
        wall_s *= 1 + self._noise * abs(self._random.gauss(0, 1))
        too_many = n_threads + self.taken - self.computer.n_cpus
        self._free += max(0, -too_many) * wall_s
        self._waiting += max(0, too_many) * n_threads / (n_threads + self.taken) * wall_s
        self.time_s += wall_s
        self.n_tokens += n_tokens
        self.choices.append((self.time_s, n_threads))
        self.governor.observe(n_threads, n_tokens, wall_s, background=background)
        return n_threads

    def run(self, for_s: float, taken: int) -> float:
        """Decode beside so many programs; returns tokens a second."""
        self.taken = taken
        until_s, before, start_s = self.time_s + for_s, self.n_tokens, self.time_s
        while self.time_s < until_s:
            self.step()
        return (self.n_tokens - before) / (self.time_s - start_s)

    def best(self, taken: int) -> float:
        """What the best fixed number of threads gives, with the same noise."""
        slower = 1 + self._noise * 0.8  # the mean of |gauss|
        return max(self.computer.rate(n, taken) for n in range(1, self.computer.n_cpus + 1)) / slower


ALL = {"collapsing": COLLAPSING, "steady": STEADY, "patient": PATIENT, "many cores": MANY_CORES}
computers = pytest.mark.parametrize("computer", ALL.values(), ids=ALL.keys())


@computers
@pytest.mark.parametrize("taken", [0, 1, 2])
@pytest.mark.parametrize("blind", [False, True])
def test_a_steady_load_is_served_as_by_the_best_fixed_choice_but_for_three_percent(
    computer: Computer, taken: int, blind: bool
) -> None:
    simulation = Simulation(computer, blind=blind)
    simulation.run(8.0, taken)  # without a probe only time can tell that there is a better choice
    assert simulation.run(60.0, taken) >= 0.97 * simulation.best(taken)


@computers
def test_a_change_of_the_load_is_answered_within_half_a_second(computer: Computer) -> None:
    """After that the speed is that of the best fixed choice, both when cores are taken and when they come free."""
    simulation = Simulation(computer)
    simulation.run(5.0, 0)
    for taken in (1, 0, 2, 0, 1, 0):
        simulation.run(REACTION_S, taken)
        assert simulation.run(1.5, taken) >= 0.9 * simulation.best(taken), f"{taken} cores taken"
        simulation.run(4.0, taken)


def test_three_of_eight_cores_taken_leaves_five_threads() -> None:
    simulation = Simulation(MANY_CORES)
    simulation.run(2.0, 0)
    simulation.run(REACTION_S, 3)
    simulation.run(3.0, 3)
    chosen = [n for _, n in simulation.choices[-40:]]
    assert max(set(chosen), key=chosen.count) == 5
    simulation.run(REACTION_S, 0)
    simulation.run(1.0, 0)
    chosen = [n for _, n in simulation.choices[-20:]]
    assert max(set(chosen), key=chosen.count) == 8


@computers
@pytest.mark.parametrize("period_s", [0.1, 0.3, 1.0, 3.0, 10.0])
def test_a_load_that_comes_and_goes_costs_no_more_than_a_tenth_against_the_best_fixed_choice(
    computer: Computer, period_s: float
) -> None:
    simulation = Simulation(computer)
    simulation.run(2.0, 0)
    start_s, before = simulation.time_s, simulation.n_tokens
    while simulation.time_s < start_s + 60:
        for taken in (1, 0):
            simulation.run(period_s, taken)
    ours = (simulation.n_tokens - before) / (simulation.time_s - start_s)
    slower = 1 + NOISE * 0.8
    counts = range(1, computer.n_cpus + 1)
    best = max((computer.rate(n, 0) + computer.rate(n, 1)) / 2 for n in counts) / slower
    assert ours >= 0.9 * best


def test_each_kind_of_batch_has_its_own_choice() -> None:
    """Two threads help a prompt of this machine and harm single tokens."""
    simulation = Simulation(COLLAPSING)
    for _ in range(400):
        simulation.computer = STEADY
        simulation.step(64)
        simulation.computer = PATIENT
        simulation.taken = 1
        simulation.step(1)
    simulation.computer = STEADY
    assert [simulation.step(64) for _ in range(20)].count(2) >= 14
    simulation.computer = PATIENT
    assert [simulation.step(1) for _ in range(20)].count(1) >= 14


@given(st.integers(1, 16), st.integers(1, 64), st.lists(st.tuples(st.integers(1, 600), st.booleans())))
def test_the_number_of_threads_stays_within_the_limit_whatever_is_measured(
    allowed: int, max_threads: int, batches: list[tuple[int, bool]]
) -> None:
    chance = random.Random(7)
    now = [0.0]

    class Nonsense:
        def look(self) -> MachineLoad:
            return MachineLoad(
                free_cpus=chance.choice([None, 0.0, 90.0]), waiting=chance.choice([None, 70.0])
            )

    governor = ThreadGovernor(max_threads=max_threads, probe=Nonsense(), now=lambda: now[0])
    for index, (n_tokens, background) in enumerate(batches):
        if index == len(batches) // 2:
            governor.limit(allowed)
        n_threads = governor.threads_for(n_tokens, background=background)
        assert 1 <= n_threads <= max_threads
        assert index < len(batches) // 2 or n_threads <= allowed
        now[0] += (wall_s := chance.choice([1e-6, 0.01, 3.0]))
        governor.observe(n_threads, n_tokens, wall_s, background=background)


def test_a_limit_holds_at_once_and_is_left_soon_after_it_is_lifted() -> None:
    simulation = Simulation(MANY_CORES)
    simulation.run(1.0, 0)
    simulation.governor.limit(2)
    assert {simulation.step() for _ in range(100)} <= {1, 2}
    simulation.governor.limit(None)
    simulation.run(REACTION_S, 0)
    assert simulation.run(1.0, 0) >= 0.9 * simulation.best(0)


@pytest.mark.parametrize(("blind", "n_tried"), [(True, 0), (False, 2)])
def test_one_slow_batch_is_chance_and_costs_a_short_trial_at_most(blind: bool, n_tried: int) -> None:
    simulation = Simulation(COLLAPSING, noise=0.0, blind=blind)
    simulation.run(3.0, 0)
    simulation.taken = 1
    simulation.step()
    simulation.taken = 0
    assert [simulation.step() for _ in range(20)].count(1) <= n_tried


# ---- chunks ------------------------------------------------------------------------------------------


def fed(sizer: ChunkSizer, seconds_a_token: float, n: int, *, n_threads: int = 2) -> ChunkSizer:
    for _ in range(n):
        size = sizer.tokens_for(0.05, n_threads=n_threads)
        sizer.observe(size, size * seconds_a_token, n_threads=n_threads)
    return sizer


@pytest.mark.parametrize(("seconds_a_token", "tokens"), [(0.001, 48), (0.0005, 96), (0.00001, 512), (0.1, 8)])
def test_a_chunk_takes_about_the_time_that_it_should(seconds_a_token: float, tokens: int) -> None:
    sizer = fed(ChunkSizer(n_batch=512), seconds_a_token, 12)
    assert sizer.tokens_for(0.05, n_threads=2) == pytest.approx(tokens, abs=8)


def test_one_batch_that_met_a_busy_moment_hardly_shrinks_the_next_chunk() -> None:
    sizer = fed(ChunkSizer(n_batch=512), 0.001, 10)
    sizer.observe(48, 30.0, n_threads=2)
    assert sizer.tokens_for(0.05, n_threads=2) >= 16
    assert fed(sizer, 0.001, 8).tokens_for(0.05, n_threads=2) == 48


def test_with_fewer_threads_than_ever_measured_a_chunk_is_smaller_in_proportion() -> None:
    sizer = fed(ChunkSizer(n_batch=512), 0.0005, 12)
    assert sizer.tokens_for(0.05, n_threads=1) == pytest.approx(48, abs=8)


def test_batches_of_a_few_tokens_do_not_speak_for_chunks() -> None:
    sizer = fed(ChunkSizer(n_batch=512), 0.0005, 12)
    for _ in range(50):
        sizer.observe(1, 0.006, n_threads=2)
    assert sizer.tokens_for(0.05, n_threads=2) >= 88


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(0, 1e6))), st.floats(1e-9, 1e6), st.integers(1, 600))
def test_a_chunk_is_never_empty_and_never_more_than_a_batch(
    seen: list[tuple[int, float]], target_s: float, n_batch: int
) -> None:
    sizer = ChunkSizer(n_batch=n_batch)
    for n_tokens, wall_s in seen:
        sizer.observe(n_tokens, wall_s, n_threads=2)
    assert min(8, n_batch) <= sizer.tokens_for(target_s, n_threads=1) <= n_batch
