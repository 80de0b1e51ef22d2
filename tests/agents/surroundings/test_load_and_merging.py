"""Others' load, what the desktop tells, and the moment at which somebody has gone away."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.surroundings.core import Surroundings
from agents.surroundings.load import CpuReading, LoadMeter, read_cpu
from agents.surroundings.merging import IdlePeriods, Presence, SustainedLoad, with_presence

# -- load -------------------------------------------------------------------------------------------------


class Counters:
    """A machine with four processors whose counters are set by hand."""

    def __init__(self) -> None:
        self.reading = CpuReading(at_s=100.0, busy_s=1000.0, ours_s={1: 50.0})

    def read(self, own_pids: Iterable[int]) -> CpuReading:
        return self.reading

    def meter(self) -> LoadMeter:
        return LoadMeter(own_pids=lambda: [1], n_cpus=4, read=self.read)


@pytest.mark.parametrize(
    ("busy_s", "ours_s", "others"),
    [
        (1000.0, {1: 50.0}, 0.0),
        (1040.0, {1: 50.0}, 1.0),
        (1040.0, {1: 90.0}, 0.0),
        (1030.0, {1: 60.0}, 0.5),
        (1030.0, {1: 50.0, 2: 10.0}, 0.5),  # an engine that was started in between
        (1020.0, {}, 0.5),  # one that ended
        (1000.0, {1: 60.0}, 0.0),  # counters that do not agree to the tick
        (2000.0, {1: 50.0}, 1.0),
    ],
)
def test_our_own_work_is_nobody_elses_load(busy_s: float, ours_s: dict[int, float], others: float) -> None:
    counters = Counters()
    meter = counters.meter()
    assert meter.sample() is None
    counters.reading = CpuReading(at_s=110.0, busy_s=busy_s, ours_s=ours_s)
    sample = meter.sample()
    assert sample is not None
    assert (sample.from_s, sample.to_s, sample.others) == (100.0, 110.0, others)


def test_no_time_between_two_readings_tells_nothing() -> None:
    meter = Counters().meter()
    assert meter.sample() is None
    assert meter.sample() is None


def test_the_real_counters_know_this_process_and_leave_out_what_is_gone() -> None:
    reading = read_cpu([os.getpid(), 2**22 + 1])
    assert list(reading.ours_s) == [os.getpid()]
    assert reading.busy_s > reading.ours_s[os.getpid()] > 0


def load_of(*samples: float, seconds: float = 10.0) -> SustainedLoad:
    load = SustainedLoad()
    for number, value in enumerate(samples):
        load.add(number * seconds, (number + 1) * seconds, value)
    return load


def test_load_counts_once_it_has_lasted_half_a_minute() -> None:
    assert load_of().lowest is None
    assert load_of(1.0, 1.0).lowest is None
    assert load_of(1.0, 0.9, 1.0).lowest == 0.9
    assert load_of(0.0, 1.0, 0.9, 1.0).lowest == 0.9
    assert load_of(1.0, 1.0, 1.0, 0.1).lowest == 0.1
    assert load_of(0.7, seconds=60.0).lowest == 0.7


def test_load_from_before_a_sleep_does_not_count() -> None:
    load = load_of(1.0, 1.0, 1.0)
    load.add(500.0, 510.0, 1.0)
    assert load.lowest is None


# -- what the desktop tells -------------------------------------------------------------------------------


def test_the_desktops_word_holds_for_a_while_and_ages() -> None:
    presence = Presence(told_at_s=100.0, idle_s=10.0, full_screen=True)
    seen = Surroundings(idle_s=0.0, full_screen=False, on_ac=True)
    assert with_presence(seen, presence, 130.0) == Surroundings(idle_s=40.0, full_screen=True, on_ac=True)
    assert with_presence(seen, presence, 191.0) == seen
    assert with_presence(seen, None, 100.0) == seen


@pytest.mark.parametrize("system", [None, False, True])
@pytest.mark.parametrize("desktop", [None, False, True])
def test_a_lock_that_anybody_sees_is_a_lock(system: bool | None, desktop: bool | None) -> None:
    seen = with_presence(Surroundings(locked=system), Presence(told_at_s=0.0, locked=desktop), 1.0)
    known = [answer for answer in (system, desktop) if answer is not None]
    assert seen.locked is (any(known) if known else None)


def test_what_the_desktop_does_not_know_stays_as_the_system_tells() -> None:
    seen = Surroundings(idle_s=55.0, full_screen=True, locked=True)
    assert with_presence(seen, Presence(told_at_s=0.0), 1.0) == seen


# -- idle periods -----------------------------------------------------------------------------------------

TEN_MINUTES = frozenset({600.0})


def test_each_absence_is_told_once() -> None:
    idle = IdlePeriods(now_s=0.0)
    assert idle.passed(599.0, TEN_MINUTES, 1000.0) == []
    assert idle.passed(609.0, TEN_MINUTES, 1010.0) == [600.0]
    assert idle.passed(619.0, TEN_MINUTES, 1020.0) == []
    assert idle.passed(5.0, TEN_MINUTES, 1100.0) == []
    assert idle.passed(605.0, TEN_MINUTES, 1700.0) == [600.0]


def test_each_threshold_has_its_own_moment() -> None:
    idle = IdlePeriods(now_s=0.0)
    both = frozenset({60.0, 600.0})
    assert idle.passed(60.0, both, 1000.0) == [60.0]
    assert idle.passed(600.0, both, 1540.0) == [600.0]
    assert idle.passed(900.0, both, 1840.0) == []


def test_an_absence_that_was_long_enough_before_the_start_is_not_told_again() -> None:
    idle = IdlePeriods(now_s=1000.0)
    assert idle.passed(700.0, TEN_MINUTES, 1001.0) == []
    assert idle.passed(1300.0, TEN_MINUTES, 1601.0) == []


def test_an_absence_that_becomes_long_enough_after_the_start_is_told() -> None:
    idle = IdlePeriods(now_s=1000.0)
    assert idle.passed(595.0, TEN_MINUTES, 1001.0) == []
    assert idle.passed(605.0, TEN_MINUTES, 1011.0) == [600.0]


def test_two_sources_that_differ_by_minutes_do_not_make_two_absences() -> None:
    idle = IdlePeriods(now_s=0.0)
    assert idle.passed(900.0, TEN_MINUTES, 2000.0) == [600.0]
    assert idle.passed(660.0, TEN_MINUTES, 2060.0) == []  # the desktop is gone: logind counts from later on
    assert idle.passed(None, TEN_MINUTES, 2070.0) == []
    assert idle.passed(1000.0, TEN_MINUTES, 2100.0) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 700)), max_size=60))
def test_never_twice_without_a_touch_between(looks: list[tuple[bool, int]]) -> None:
    idle = IdlePeriods(now_s=0.0)
    now_s, touched_at_s, told_since_touch = 0.0, 0.0, False
    for touches, pause_s in looks:
        now_s += pause_s
        if touches:
            touched_at_s, told_since_touch = now_s, False
        told = idle.passed(now_s - touched_at_s, TEN_MINUTES, now_s)
        assert not (told and told_since_touch)
        assert told or told_since_touch or now_s - touched_at_s < 600.0
        told_since_touch |= bool(told)
