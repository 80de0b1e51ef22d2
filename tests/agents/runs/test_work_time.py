"""Time at work counts, time spent waiting for the machine does not."""

from __future__ import annotations

from agents.policies import TimeLimits
from agents.runs.problems import OutOfTime, StepOutOfTime
from agents.runs.work_time import WorkTime
from tests.agents.conftest import FakeClock


def test_a_run_that_was_at_work_for_its_limit_is_over_it() -> None:
    clock = FakeClock()
    time = WorkTime(TimeLimits(run_s=60.0, step_s=50.0), clock.monotonic)
    clock.advance(59)
    assert time.overrun() is None
    assert time.left_s == 1.0
    clock.advance(1)
    problem = time.overrun()
    assert isinstance(problem, OutOfTime)
    assert "1 minute;" in str(problem)


def test_each_step_has_its_time_anew() -> None:
    clock = FakeClock()
    time = WorkTime(TimeLimits(run_s=1_000.0, step_s=50.0), clock.monotonic)
    for title in ("Read", "Write"):
        time.begin_step(title)
        clock.advance(40)
        assert time.overrun() is None
        time.end_step()
    time.begin_step("Look")
    clock.advance(50)
    problem = time.overrun()
    assert isinstance(problem, StepOutOfTime)
    assert "“Look”" in str(problem)


def test_nothing_counts_while_anybody_holds_the_work() -> None:
    clock = FakeClock()
    time = WorkTime(TimeLimits(run_s=60.0, step_s=50.0), clock.monotonic)
    time.hold("battery")
    time.begin_step("Write")
    time.hold("line")
    clock.advance(1_000)
    time.release("battery")
    clock.advance(1_000)
    assert time.overrun() is None
    time.release("line")
    clock.advance(49)
    assert time.overrun() is None
    clock.advance(1)
    assert isinstance(time.overrun(), StepOutOfTime)


def test_a_hold_that_is_taken_off_twice_does_not_count_twice() -> None:
    clock = FakeClock()
    time = WorkTime(TimeLimits(run_s=60.0), clock.monotonic)
    time.hold("x")
    time.release("x")
    time.release("x")
    clock.advance(30)
    assert time.left_s == 30.0
