"""Which of an agent's late due times still run, and what is said of the others. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from agents.durations import duration_in_words
from agents.policies import Misfire, MisfirePolicy

GRACE = timedelta(seconds=60)  # until then a due time is in time


@dataclass(frozen=True, kw_only=True)
class LateDecision:
    """Every due time that was asked about is in one of the two, in order of time."""

    run: tuple[datetime, ...]
    missed: tuple[tuple[datetime, str], ...]  # with a sentence for the user


def sort_late(dues: Sequence[datetime], *, now: datetime, misfire: Misfire) -> LateDecision:
    """Due times that are in time always run; what becomes of late ones is the agent's policy."""
    in_order = sorted(set(dues))
    in_time = [due for due in in_order if now - due <= GRACE]
    late = in_order[: len(in_order) - len(in_time)]
    oldest = None if misfire.within_s is None else now - timedelta(seconds=misfire.within_s)
    in_reach = [due for due in late if oldest is None or due >= oldest]
    caught_up = _newest(in_reach, _how_many(misfire, bool(in_time)))
    missed = [
        (due, _reason(misfire, too_old=oldest is not None and due < oldest))
        for due in late
        if due not in caught_up
    ]
    return LateDecision(run=(*caught_up, *in_time), missed=tuple(missed))


def _how_many(misfire: Misfire, one_is_in_time: bool) -> int:
    match misfire.policy:
        case MisfirePolicy.SKIP:
            return 0
        case MisfirePolicy.RUN_ONCE:
            return 0 if one_is_in_time else 1
        case MisfirePolicy.RUN_ALL:
            return max(0, misfire.at_most)
        case _:
            assert_never(misfire.policy)


def _newest(dues: list[datetime], how_many: int) -> tuple[datetime, ...]:
    return tuple(dues[-how_many:]) if how_many else ()


def _reason(misfire: Misfire, *, too_old: bool) -> str:
    late = "Hearth could not start it in time"
    if too_old and misfire.within_s is not None and misfire.policy is not MisfirePolicy.SKIP:
        return f"{late}, and it was more than {duration_in_words(misfire.within_s)} late."
    match misfire.policy:
        case MisfirePolicy.SKIP:
            return f"{late}, and this agent leaves out what is late."
        case MisfirePolicy.RUN_ONCE:
            return f"{late}; a newer one runs in its place."
        case MisfirePolicy.RUN_ALL:
            return f"{late}; only the newest {misfire.at_most} are caught up."
        case _:
            assert_never(misfire.policy)
