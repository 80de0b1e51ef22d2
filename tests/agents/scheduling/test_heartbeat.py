"""A count that does not move is told from a watcher that was not there to look."""

from agents.scheduling.heartbeat import Heartbeat, Vigil


def test_a_count_that_moves_is_never_still() -> None:
    heart, vigil = Heartbeat(), Vigil(longest_look_s=10)
    for _ in range(100):
        heart.beat()
        assert vigil.look(heart.count, 5.0) == 0.0


def test_a_count_that_rests_is_still_for_as_long_as_it_was_watched() -> None:
    heart, vigil = Heartbeat(), Vigil(longest_look_s=10)
    vigil.look(heart.count, 5.0)
    assert [vigil.look(heart.count, 5.0) for _ in range(3)] == [5.0, 10.0, 15.0]
    heart.beat()
    assert vigil.look(heart.count, 5.0) == 0.0


def test_a_process_that_was_stopped_for_two_minutes_is_not_taken_for_one_that_stood_still() -> None:
    heart, vigil = Heartbeat(), Vigil(longest_look_s=10)
    vigil.look(heart.count, 5.0)
    assert vigil.look(heart.count, 120.0) == 10.0
    heart.beat()  # it goes on together with its watcher
    assert vigil.look(heart.count, 5.0) == 0.0


def test_a_clock_that_jumps_back_counts_nothing() -> None:
    heart, vigil = Heartbeat(), Vigil(longest_look_s=10)
    vigil.look(heart.count, 5.0)
    assert vigil.look(heart.count, -100.0) == 0.0


def test_after_a_restart_the_patience_begins_anew() -> None:
    heart, vigil = Heartbeat(), Vigil(longest_look_s=10)
    vigil.look(heart.count, 5.0)
    vigil.look(heart.count, 5.0)
    vigil.reset()
    assert vigil.look(heart.count, 5.0) == 5.0
