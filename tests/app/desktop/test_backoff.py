"""Waiting longer after each failure, and not starting a runtime for ever."""

from app.desktop.link.backoff import Backoff, StartLimit


def test_delays_grow_up_to_the_last_and_begin_anew_after_a_success() -> None:
    backoff = Backoff((0.1, 1.0))
    assert [backoff.next_delay_s() for _ in range(3)] == [0.1, 1.0, 1.0]
    backoff.reset()
    assert backoff.next_delay_s() == 0.1


def test_a_crash_loop_is_left_alone_until_the_window_has_passed() -> None:
    limit = StartLimit(starts=2, within_s=60)
    assert [limit.may_start(t) for t in (0, 1, 2)] == [True, True, False]
    assert limit.may_start(61.5)


def test_the_user_may_try_again_at_once() -> None:
    limit = StartLimit(starts=1, within_s=60)
    assert limit.may_start(0)
    limit.forget()
    assert limit.may_start(1)
