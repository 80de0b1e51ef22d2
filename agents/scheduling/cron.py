"""Cron schedules: checked, and turned into the moments at which Debian's cron would run them. cronsim reads and matches the fields.

cronsim computes on a wall clock without a zone; what daylight saving makes of its times is decided here, by Debian's rule (cron(8)):

- A schedule at fixed times: a time that is skipped runs right after the jump, one that comes twice runs the first time.
- A schedule whose minute or hour begins with `*` goes by what the clock shows: skipped times don't run, repeated ones run again.
- Times that a jump of three hours or more skips (a zone that changed its date) don't run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from typing import NamedTuple

from cronsim import CronSim, CronSimError

from agents.scheduling.wall_clock import (
    CORRECTION,
    find_zone,
    next_change,
    offset_at,
    to_moment,
    to_wall,
)

_SHORT_FORMS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MAX_CHARS = 200
_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day-of-month", "1-31"),
    ("month", "1-12 or jan-dec"),
    ("day-of-week", "0-7 or sun-sat"),
)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_FAR = datetime(9900, 1, 1, tzinfo=UTC)  # later moments could leave the calendar that Python has
_ANY_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock's time has no zone


@dataclass(frozen=True, kw_only=True)
class Due:
    """A due time, and one sentence where daylight saving does something to it that may surprise."""

    at: datetime
    note: str | None = None


class CronFields(NamedTuple):
    """The five fields as they were written."""

    minute: str
    hour: str
    day: str
    month: str
    weekday: str


def read_fields(schedule: str) -> CronFields:
    """Raises ValueError with one sentence when there are not five."""
    words = _SHORT_FORMS.get(schedule.strip().lower(), schedule).split()
    if len(schedule) > _MAX_CHARS or len(words) != len(_FIELDS):
        raise ValueError(
            f"The schedule “{schedule[:40]}” must have five fields: "
            "minute, hour, day of the month, month and day of the week."
        )
    return CronFields(*words)


def check_cron(schedule: str) -> None:
    """Raises ValueError with one sentence that names the field, or says that its day never comes."""
    fields = read_fields(schedule)
    for place, (value, (name, values)) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[place] = value
        try:
            CronSim(" ".join(alone), _ANY_DAY)
        except CronSimError:
            raise ValueError(
                f"The {name} field “{value}” of the schedule “{schedule}” is not understood: it takes {values}, "
                "lists (1,2), ranges (1-5) and steps (*/2)."
            ) from None
    try:
        next(CronSim(" ".join(fields), _ANY_DAY))
    except (CronSimError, StopIteration):
        raise ValueError(
            f"The schedule “{schedule}” never comes: no month has such a day in its day-of-month field."
        ) from None


class Cron:
    """One schedule in one zone. Raises ValueError when it is made of what check_cron or check_zone refuse."""

    def __init__(self, schedule: str, zone: str) -> None:
        fields = read_fields(schedule)
        self._schedule = " ".join(fields)
        self._zone = find_zone(zone)
        self._goes_by_the_clock = fields.minute.startswith("*") or fields.hour.startswith("*")
        self._walls(_ANY_DAY)

    def after(self, moment: datetime) -> Iterator[Due]:
        """Due times later than `moment`, the earliest first, each later than the one before."""
        if moment >= _FAR:
            return iter(())
        return self._by_the_clock(moment) if self._goes_by_the_clock else self._at_fixed_times(moment)

    def count(self, start: datetime, end: datetime) -> int:
        """How many are due in (start, end]. Whole days without a change of the clock are counted, not walked."""
        end = min(end, _FAR)
        day = to_wall(self._zone, start).date() + _DAY
        total, walked = 0, start
        before = self._eve(day)
        while before < end and (ahead := self._eve(day + _DAY)) <= end:
            same_offset = offset_at(self._zone, before) == offset_at(self._zone, ahead)
            # A jump to midnight leaves the offset as it was at both ends.
            if same_offset and ahead - before == _DAY:
                total += self._walk(walked, before) + self._in_day(day)
                walked = ahead
            day, before = day + _DAY, ahead
        return total + self._walk(walked, end)

    def _at_fixed_times(self, after: datetime) -> Iterator[Due]:
        for wall in self._walls(to_wall(self._zone, after)):
            at, jump = to_moment(self._zone, wall)
            if at <= after or jump >= CORRECTION:
                continue
            yield Due(at=at, note=self._note(wall, at, jump))
            after = at  # two skipped times are one

    def _by_the_clock(self, after: datetime) -> Iterator[Due]:
        """Walks from one change of the offset to the next: in between, the wall clock just runs."""
        offset = offset_at(self._zone, after)
        wall_before = to_wall(self._zone, after)
        while True:
            for wall in self._walls(wall_before):
                at = (wall - offset).replace(tzinfo=UTC)
                change = next_change(self._zone, after, at)
                if change is not None:
                    break
                yield Due(at=at, note=self._note_of_repeat(at))
                after = at
            else:
                return  # no such day in the next 50 years
            after, offset = change, offset_at(self._zone, change)
            wall_before = to_wall(self._zone, change) - _SECOND  # the time right at the change counts too

    def _walls(self, wall: datetime) -> CronSim:
        """Times of the wall clock later than `wall`."""
        try:
            return CronSim(self._schedule, wall)
        except CronSimError:
            raise ValueError(f"The schedule “{self._schedule}” is not understood.") from None

    def _walk(self, start: datetime, end: datetime) -> int:
        if start >= end:
            return 0
        return sum(1 for _ in takewhile(lambda due: due.at <= end, self.after(start)))

    def _eve(self, day: date) -> datetime:
        """The last second before a day begins: schedules know minutes, so nothing is due between it and the day."""
        return to_moment(self._zone, datetime.combine(day, time()))[0] - _SECOND

    def _in_day(self, day: date) -> int:
        matching = self._walls(_ANY_DAY)
        if day.month not in matching.months or not matching.match_day(day):
            return 0
        return len(matching.hours) * len(matching.minutes)

    def _note(self, wall: datetime, at: datetime, jump: timedelta) -> str | None:
        if jump > timedelta():
            return f"{wall:%H:%M} does not exist that day; it runs at {at.astimezone(self._zone):%H:%M}."
        if jump < timedelta():
            return f"{wall:%H:%M} comes twice that day; it runs the first time."
        return None

    def _note_of_repeat(self, at: datetime) -> str | None:
        local = at.astimezone(self._zone)
        return f"{local:%H:%M} comes twice that day; this is the second time." if local.fold else None
