"""A model of Debian's cron, apart from the code under test: it walks real minutes and reads its own fields, as cron(8) and crontab(5) tell.

"If the local time moves forward by less than three hours, fixed-time jobs that would have run in the interval that has been skipped run
immediately. If it moves backward by less than three hours, those that fall into the repeated time are not run again. Jobs that run
hourly or more often, or at any time marked by *, are not affected: they run by the new time at once. Larger changes are corrections:
the new time is used immediately."
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
NAMES = {
    name: number
    for names, first in (
        ("jan feb mar apr may jun jul aug sep oct nov dec", 1),
        ("sun mon tue wed thu fri sat", 0),
    )
    for number, name in enumerate(names.split(), first)
}


@dataclass(frozen=True)
class Tick:
    """One real minute, and what the wall clock shows at it."""

    at: datetime
    wall: datetime  # naive


@lru_cache(maxsize=64)
def walk(zone: str, start: datetime, end: datetime) -> tuple[Tick, ...]:
    """Every minute from `start` to `end`."""
    place = ZoneInfo(zone)
    minutes = (end - start) // MINUTE
    moments = [start + MINUTE * n for n in range(minutes + 1)]
    return tuple(Tick(at, at.astimezone(place).replace(tzinfo=None, fold=0)) for at in moments)


def jumps(ticks: tuple[Tick, ...]) -> list[tuple[datetime, timedelta]]:
    """Where the wall clock does something else than going on by a minute, and by how much more or less."""
    return [
        (now.at, now.wall - before.wall - MINUTE)
        for before, now in pairwise(ticks)
        if now.wall - before.wall != MINUTE
    ]


def debian_runs(schedule: str, ticks: tuple[Tick, ...]) -> list[datetime]:
    """When cron, running since the first tick, starts the job; one that is started twice in one minute counts once."""
    table = Table(schedule)
    handled = ticks[0].wall  # cron's virtual time
    runs: list[datetime] = []
    for tick in ticks[1:]:
        ahead = (tick.wall - handled) // MINUTE
        if ahead == 1 or not -180 <= ahead <= 180:
            starts = table.matches(tick.wall)
            handled = tick.wall
        elif ahead > 1:
            skipped = [handled + MINUTE * n for n in range(1, ahead + 1)]
            starts = any(map(table.matches, [tick.wall] if table.is_wild else skipped))
            handled = tick.wall
        else:
            starts = table.is_wild and table.matches(tick.wall)
        if starts:
            runs.append(tick.at)
    return runs


class Table:
    """One line of a crontab."""

    def __init__(self, schedule: str) -> None:
        minute, hour, day, month, weekday = schedule.split()
        self.is_wild = minute.startswith("*") or hour.startswith("*")
        self._both_days = day.startswith("*") or weekday.startswith("*")
        self._minutes = field(minute, 0, 59)
        self._hours = field(hour, 0, 23)
        self._days = field(day, 1, 31)
        self._months = field(month, 1, 12)
        self._weekdays = {number % 7 for number in field(weekday, 0, 7)}

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self._minutes or wall.hour not in self._hours or wall.month not in self._months:
            return False
        days = (wall.day in self._days, wall.isoweekday() % 7 in self._weekdays)
        return all(days) if self._both_days else any(days)


def field(text: str, first: int, last: int) -> set[int]:
    numbers: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        low, _, high = ("-".join((str(first), str(last))) if span == "*" else span).partition("-")
        start = NAMES.get(low) if low in NAMES else int(low)
        end = start if not high else NAMES.get(high) if high in NAMES else int(high)
        assert start is not None
        assert end is not None
        numbers.update(range(start, end + 1, int(step or 1)))
    return numbers
