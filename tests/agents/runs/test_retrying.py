"""Which failures are tried again, and when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policies import Retry
from agents.runs.retrying import (
    AFTER_DEATH_S,
    DIED,
    GIVE_UP_AFTER,
    JITTER,
    MAX_WAIT_S,
    PASSING,
    gives_up,
    next_try,
)
from engine.host.restarts import RestartPolicy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def wait_s(
    *, code: str | None = "engine_busy", failures: int = 0, retry: Retry | None = None, draw: float = 0.5
):
    at = next_try(retry or Retry(attempts=100), code=code, failures=failures, now=NOW, draw=draw)
    return None if at is None else (at - NOW).total_seconds()


def test_each_wait_is_twice_the_one_before_up_to_a_limit() -> None:
    assert [wait_s(failures=n) for n in range(4)] == [30.0, 60.0, 120.0, 240.0]
    assert wait_s(failures=99) is None
    assert wait_s(failures=98) == MAX_WAIT_S


@pytest.mark.parametrize("code", ["document", "permission", "budget", "run_timeout", "prompt_too_long", None])
def test_what_would_fail_again_just_so_is_not_tried_again(code: str | None) -> None:
    assert wait_s(code=code) is None


@pytest.mark.parametrize("code", sorted(PASSING))
def test_what_passes_is_tried_again(code: str) -> None:
    waited = wait_s(code=code, draw=0.0)
    assert waited == (AFTER_DEATH_S if code == DIED else 30.0 * (1 - JITTER))


def test_a_document_that_kills_the_engine_stays_away_until_its_deaths_are_forgotten() -> None:
    assert RestartPolicy().window_s < AFTER_DEATH_S


def test_attempts_count_the_first_one_too() -> None:
    retry = Retry(attempts=3, first_s=1.0)
    assert [wait_s(failures=n, retry=retry) for n in range(3)] == [1.0, 2.0, None]
    assert wait_s(retry=Retry(attempts=1)) is None


@given(
    failures=st.integers(0, 10**6),
    first_s=st.floats(0.001, 10**6),
    draw=st.floats(0, 1),
)
def test_a_wait_is_never_longer_than_the_limit_with_its_share_of_chance(
    failures: int, first_s: float, draw: float
) -> None:
    waited = wait_s(failures=failures, draw=draw, retry=Retry(attempts=10**7, first_s=first_s))
    assert waited is not None
    assert 0 <= waited <= MAX_WAIT_S * (1 + JITTER) + 1e-3


def test_an_agent_is_given_up_after_ten_failed_runs_in_a_row() -> None:
    assert [gives_up(n) for n in (0, 1, GIVE_UP_AFTER - 1, GIVE_UP_AFTER, GIVE_UP_AFTER + 3)] == [
        False, False, False, True, True,
    ]  # fmt: skip
