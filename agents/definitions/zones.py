"""Time zones and wall-clock times of agent files: the user's own zone where the file names none."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import tzlocal

from agents.front_matter import Fields, refuse
from agents.scheduling.due_times import check_zone

_MAX_CHARS = 100
_TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def local_zone() -> str:
    """The IANA name of the computer's time zone; UTC where the system names none. Reads the system's settings."""
    try:
        # Anew, since a laptop travels and the library remembers. A copied /etc/localtime has no name.
        name = tzlocal.reload_localzone().key or ""
        check_zone(name)
    except (LookupError, ValueError, OSError):  # settings that contradict each other, or name no zone
        return "UTC"
    return name


def read_zone(fields: Fields, default: str) -> str:
    if "zone" not in fields:
        return default
    name = fields.written("zone", max_chars=_MAX_CHARS)
    try:
        check_zone(name.value)
    except ValueError as error:
        refuse(name.line, f"'zone': {error}")
    return name.value


def read_moment(fields: Fields, key: str, zone: str) -> datetime:
    """A date and a time by the wall clock of `zone`, or with its own offset from UTC; returned in UTC."""
    written = fields.written(key, max_chars=_MAX_CHARS)
    moment = _parsed(written.value)
    if moment is None:
        refuse(written.line, f"'{key}' must be a date and a time, such as 2026-12-01 09:00.")
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        local = moment.replace(tzinfo=ZoneInfo(zone))
        in_utc = local.astimezone(UTC)
        exists = in_utc.astimezone(local.tzinfo).replace(tzinfo=None) == moment
    except OverflowError:
        refuse(written.line, f"'{key}' is too far from today.")
    if not exists:
        refuse(written.line, f"the clocks of {zone} skip {written.value}; choose another time.")
    return in_utc


def render_moment(moment: datetime, zone: str) -> str:
    """What read_moment reads as this moment: with the offset only where the wall clock shows that time twice."""
    local = moment.astimezone(ZoneInfo(zone))
    plain = local.replace(tzinfo=None, fold=0)
    again = plain.replace(tzinfo=local.tzinfo).astimezone(UTC)
    shown = plain if again == moment else local
    spec = "minutes" if shown.second == shown.microsecond == 0 else "auto"
    return shown.isoformat(sep=" ", timespec=spec)


def read_time_of_day(fields: Fields, key: str) -> time:
    """Hours and minutes by a wall clock."""
    written = fields.written(key, max_chars=_MAX_CHARS)
    found = _TIME_OF_DAY.fullmatch(written.value)
    if found is None:
        refuse(written.line, f"'{key}' must be a time of day from 00:00 to 23:59.")
    return time(int(found[1]), int(found[2]))


def _parsed(text: str) -> datetime | None:
    """A date without a time would mean midnight, which nobody who leaves it out thinks of."""
    try:
        return datetime.fromisoformat(text) if ":" in text else None
    except ValueError:
        return None
