"""Where a time zone's wall clock and the moments in UTC meet: offsets, the changes between them, times that don't exist or come twice.

Pure: the zone data is all that is read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# cron(8): a clock that goes this far forward at once was corrected, which is not daylight saving
CORRECTION = timedelta(hours=3)

_SECOND = timedelta(seconds=1)
_LOOK_AHEAD = timedelta(days=1)  # no zone changes its offset twice within so short a time


def find_zone(name: str) -> ZoneInfo:
    """Raises ValueError with one sentence for the user."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"There is no time zone “{name[:60]}”: write it as a region and a city, such as Europe/Berlin."
        ) from None


def is_zone(name: str) -> bool:
    try:
        find_zone(name)
    except ValueError:
        return False
    return True


def offset_at(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # a ZoneInfo always knows it
    return offset


def to_wall(zone: ZoneInfo, moment: datetime) -> datetime:
    """What the clock on the wall shows, as a naive time."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def to_moment(zone: ZoneInfo, wall: datetime) -> tuple[datetime, timedelta]:
    """When the wall clock first shows `wall`, and by how much it jumps there.

    The jump is positive where `wall` is skipped (the moment is then the one right after the jump), negative where it comes twice.
    """
    aware = wall.replace(tzinfo=zone, fold=0)
    before, after = aware.utcoffset(), aware.replace(fold=1).utcoffset()
    assert before is not None
    assert after is not None
    if after <= before:
        return _utc(wall, before), after - before
    change = next_change(zone, _utc(wall, after), _utc(wall, before))
    assert change is not None  # the two offsets differ, so there is one
    return change, after - before


def next_change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment in (start, end] with another offset than at `start`."""
    offset = offset_at(zone, start)
    while start < end:
        ahead = min(start + _LOOK_AHEAD, end)
        if offset_at(zone, ahead) != offset:
            return _first_other(zone, start.replace(microsecond=0), ahead, offset)
        start = ahead
    return None


def _first_other(zone: ZoneInfo, same: datetime, other: datetime, offset: timedelta) -> datetime:
    """Halves the stretch until one second is left; offsets change at whole seconds."""
    while other - same > _SECOND:
        middle = same + (other - same) // 2
        middle = middle.replace(microsecond=0)
        if middle <= same:
            break
        if offset_at(zone, middle) == offset:
            same = middle
        else:
            other = middle
    return other.replace(microsecond=0)


def _utc(wall: datetime, offset: timedelta) -> datetime:
    return (wall - offset).replace(tzinfo=UTC)
