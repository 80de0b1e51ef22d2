"""When triggers are due: cron by a zone's wall clock, intervals from their anchor, single moments. Pure: the caller says what time it is.

Every span is open at its start and closed at its end, so that spans laid end to end count each due time once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice, takewhile
from typing import assert_never

from agents.scheduling.cron import Cron, Due, check_cron
from agents.scheduling.wall_clock import find_zone
from agents.scheduling.words import due_in_words, in_words
from agents.triggers import CronTrigger, IntervalTrigger, OnceTrigger, TimedTrigger

__all__ = [
    "Due",
    "check_cron",
    "check_zone",
    "count_between",
    "due_in_words",
    "dues_after",
    "dues_between",
    "in_words",
    "newest_dues",
    "next_due",
]

_MICROSECOND = timedelta(microseconds=1)
_FIRST_LOOK = timedelta(hours=1)
# Some 30,000 years: longer than the calendar, and still an interval that Python can count with.
_LONGEST_S = 1e12


def check_zone(name: str) -> None:
    """Raises ValueError with one sentence when no such time zone is known."""
    find_zone(name)


def dues_after(trigger: TimedTrigger, *, after: datetime, anchor: datetime) -> Iterator[Due]:
    """Due times later than `after`, in order. `anchor` is what intervals count from, into the past as well.

    Raises ValueError for a schedule or a zone that is not understood.
    """
    match trigger:
        case CronTrigger():
            return Cron(trigger.schedule, trigger.zone).after(after)
        case IntervalTrigger():
            return _intervals(trigger, after, anchor)
        case OnceTrigger():
            return iter([Due(at=trigger.at.astimezone(UTC))] if trigger.at > after else [])
        case _:
            assert_never(trigger)


def next_due(trigger: TimedTrigger, *, after: datetime, anchor: datetime) -> Due | None:
    """The first due time later than `after`; None when there is none in the next 50 years."""
    return next(dues_after(trigger, after=after, anchor=anchor), None)


def dues_between(
    trigger: TimedTrigger, *, start: datetime, end: datetime, anchor: datetime, limit: int
) -> list[Due]:
    """The earliest `limit` due times in (start, end]."""
    dues = takewhile(lambda due: due.at <= end, dues_after(trigger, after=start, anchor=anchor))
    return list(islice(dues, limit))


def newest_dues(
    trigger: TimedTrigger, *, start: datetime, end: datetime, anchor: datetime, limit: int
) -> list[Due]:
    """The latest `limit` due times in (start, end], in order. Looks back in growing steps, so a long span costs little."""
    step = _FIRST_LOOK
    while True:
        since = end - step if step < end - start else start
        found = count_between(trigger, start=since, end=end, anchor=anchor)
        if found >= limit or since <= start:
            dues = dues_between(trigger, start=since, end=end, anchor=anchor, limit=found)
            return dues[max(0, found - limit) :]
        step *= 2


def count_between(trigger: TimedTrigger, *, start: datetime, end: datetime, anchor: datetime) -> int:
    """How many due times lie in (start, end], exactly, without walking them all."""
    if end <= start:
        return 0
    match trigger:
        case CronTrigger():
            return Cron(trigger.schedule, trigger.zone).count(start, end)
        case IntervalTrigger():
            every = _every(trigger)
            return (end - anchor) // every - (start - anchor) // every
        case OnceTrigger():
            return int(start < trigger.at <= end)
        case _:
            assert_never(trigger)


def _intervals(trigger: IntervalTrigger, after: datetime, anchor: datetime) -> Iterator[Due]:
    every = _every(trigger)
    first = (after - anchor) // every + 1
    try:
        for n in count(first):
            yield Due(at=anchor + every * n)  # from the anchor each time: adding up would add up errors
    except OverflowError:  # later than Python's calendar goes
        return


def _every(trigger: IntervalTrigger) -> timedelta:
    every = timedelta(seconds=min(trigger.every_s, _LONGEST_S))
    if every < _MICROSECOND:
        raise ValueError("An interval must be longer than nothing.")
    return every
