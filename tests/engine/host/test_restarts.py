"""Back-off grows, deaths are forgotten with time, and the third one in five minutes sets the model aside."""

import pytest

from engine.host.restarts import DeathRecord, Restart, RestartPolicy, SetAside, backoff_s


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_back_off_grows_and_then_stays() -> None:
    policy = RestartPolicy()
    assert [backoff_s(policy, deaths) for deaths in range(1, 8)] == [0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]


def test_two_deaths_restart_and_the_third_sets_aside(clock: Clock) -> None:
    record = DeathRecord(RestartPolicy(), clock)
    assert record.record("killed by SIGSEGV") == Restart(delay_s=0.2)
    clock.now += 10
    assert record.record("killed by SIGSEGV") == Restart(delay_s=0.5)
    clock.now += 10
    decision = record.record("killed by SIGABRT")
    assert isinstance(decision, SetAside)
    assert "3 times within 5 minutes" in decision.reason
    assert "SIGABRT" in decision.reason


def test_deaths_older_than_the_window_do_not_count(clock: Clock) -> None:
    record = DeathRecord(RestartPolicy(), clock)
    for _ in range(10):
        assert record.record("x") == Restart(delay_s=0.2)
        clock.now += 300


def test_the_window_slides(clock: Clock) -> None:
    record = DeathRecord(RestartPolicy(), clock)
    record.record("x")
    clock.now += 200
    record.record("x")
    clock.now += 150
    assert record.record("x") == Restart(delay_s=0.5), "the first death is 350 s old"
    clock.now += 1
    assert isinstance(record.record("x"), SetAside)


def test_another_try_begins_with_a_clean_record(clock: Clock) -> None:
    record = DeathRecord(RestartPolicy(), clock)
    for _ in range(3):
        record.record("x")
    record.forget()
    assert record.record("x") == Restart(delay_s=0.2)
