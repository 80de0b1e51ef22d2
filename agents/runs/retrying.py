"""Which failures pass, and when a run that met one is tried again. Pure; the run manager is the only one who retries."""

from __future__ import annotations

from datetime import datetime, timedelta

from agents.policies import Retry

# By the error's code. What is not named here would fail again just so: an unreadable format, a missing permission, a spent budget.
PASSING = frozenset(
    {
        "engine_died",  # under this request, and again when the engine repeated it
        "engine_busy",
        "engine_stopped",  # while nobody stopped the run: the model was unloaded or replaced
        "step_timeout",
        "file_changing",  # it was being written to
        "document_unreadable",  # its disk did not answer
        "effect_trouble",
    }
)
MAX_WAIT_S = 6 * 3600.0
# After a death of the engine at least so long: a document that kills it shall not, by coming back, have its model set aside for all.
DIED, AFTER_DEATH_S = "engine_died", 600.0
JITTER = 0.2  # so that runs which failed together don't come back together
GIVE_UP_AFTER = 10  # failed runs in a row, after which an agent is paused


def next_try(retry: Retry, *, code: str | None, failures: int, now: datetime, draw: float) -> datetime | None:
    """When a run is tried again that has just failed with `code`, after `failures` earlier failed tries; None: never.

    `draw` is a random number from 0 to 1.
    """
    if code not in PASSING or failures + 1 >= retry.attempts:
        return None
    # The exponent is bounded too: a float would overflow long after the wait has reached its limit.
    wait_s = min(retry.first_s * 2.0 ** min(failures, 32), MAX_WAIT_S)
    if code == DIED:
        wait_s = max(wait_s, AFTER_DEATH_S / (1 - JITTER))
    return now + timedelta(seconds=wait_s * (1 + JITTER * (2 * draw - 1)))


def gives_up(failures_in_a_row: int) -> bool:
    """Whether an agent is paused after so many failed runs; one that the user lets run again begins to count anew."""
    return failures_in_a_row >= GIVE_UP_AFTER


def given_up(agent_name: str, last_reason: str) -> str:
    """The sentence that says so."""
    return (
        f"“{agent_name}” was paused because {GIVE_UP_AFTER} of its runs failed in a row; the last one said: "
        f"{last_reason} Mend that, then resume it."
    )
