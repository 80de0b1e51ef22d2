"""Triggers and due times as an English reader says them: 24-hour clock, and the zone only where it is not the reader's own. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import assert_never

from cronsim import CronSim

from agents.durations import duration_in_words
from agents.printable import printable
from agents.scheduling.cron import CronFields, read_fields
from agents.scheduling.wall_clock import find_zone, is_zone
from agents.triggers import (
    CronTrigger,
    FileTrigger,
    IdleTrigger,
    IntervalTrigger,
    OnceTrigger,
    ResultKind,
    ResultTrigger,
    StartTrigger,
    Trigger,
    WakeTrigger,
    WebhookTrigger,
)

# Not strftime's names: those follow the process's locale.
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ENDS = {ResultKind.SUCCEEDED: "succeeded", ResultKind.FAILED: "failed", ResultKind.ANY: "ended"}


def in_words(trigger: Trigger, *, local_zone: str | None = None) -> str:
    """What wakes the agent: "every weekday at 08:00 (Europe/Berlin)"; without the zone when it is `local_zone`."""
    match trigger:
        case CronTrigger():
            return _cron(read_fields(trigger.schedule)) + _zone_after(trigger.zone, local_zone)
        case IntervalTrigger():
            return f"every {duration_in_words(trigger.every_s, each=True)}"
        case OnceTrigger() if not is_zone(trigger.zone):  # a zone can vanish with the system's data
            return f"once, on {moment_in_words(trigger.at, UTC)} (UTC)"
        case OnceTrigger():
            return f"once, on {moment_in_words(trigger.at, find_zone(trigger.zone))}" + _zone_after(
                trigger.zone, local_zone
            )
        case FileTrigger():
            folders = listed([printable(folder) for folder in trigger.folders]) or "folders that you choose"
            return f"when a file ({', '.join(trigger.patterns)}) changes in {folders}"
        case StartTrigger():
            return "when Hearth starts"
        case WakeTrigger():
            return "when the computer wakes up"
        case IdleTrigger():
            return f"when nobody has used the computer for {duration_in_words(trigger.after_s)}"
        case WebhookTrigger():
            return f"when the hook “{trigger.hook}” is called"
        case ResultTrigger():
            return f"when a run of “{trigger.agent}” has {_ENDS[trigger.when]}"
        case _:
            assert_never(trigger)


def due_in_words(due: datetime, zone: tzinfo, now: datetime) -> str:
    """When that is, seen from now: "tomorrow, Tuesday at 08:00"."""
    local, today = due.astimezone(zone), now.astimezone(zone).date()
    day, days_ahead = DAYS[local.weekday()], (local.date() - today).days
    match days_ahead:
        case 0:
            said = "today"
        case 1:
            said = f"tomorrow, {day}"
        case -1:
            said = f"yesterday, {day}"
        case 2 | 3 | 4 | 5 | 6:
            said = f"on {day}"
        case _:
            said = f"on {_date(local, with_year=local.year != today.year)}"
    return f"{said} at {_time(local)}"


def moment_in_words(moment: datetime, zone: tzinfo) -> str:
    """A moment whatever day it is told on: "Tuesday 1 December 2026 at 09:00"."""
    local = moment.astimezone(zone)
    return f"{_date(local)} at {_time(local)}"


def listed(words: Sequence[str], joint: str = "and") -> str:
    """ "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {joint} {words[-1]}"


def _cron(fields: CronFields) -> str:
    """Usual schedules in usual words; cronsim's own for the others."""
    how_often, days = _how_often(fields), _days(fields)
    if days is not None and (clock := _clock(fields)) is not None:
        return f"{days or 'every day'} at {clock}"
    if days is not None and how_often is not None:
        return how_often + (f", {days}" if days else "")
    said: str = CronSim(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC)).explain()
    return said[:1].lower() + said[1:]


def _clock(fields: CronFields) -> str | None:
    """One to four times of day."""
    hours = fields.hour.split(",")
    if not _is_number(fields.minute) or not all(map(_is_number, hours)) or len(hours) > 4:
        return None
    times = sorted({(int(hour), int(fields.minute)) for hour in hours})
    return listed([f"{hour:02}:{minute:02}" for hour, minute in times])


def _how_often(fields: CronFields) -> str | None:
    """Steps that are even all day long."""
    if fields.hour in ("*", "*/1"):
        if (minutes := _step(fields.minute, 60)) is not None:
            return f"every {duration_in_words(minutes * 60, each=True)}"
        if _is_number(fields.minute):
            past = duration_in_words(int(fields.minute) * 60)
            return "every hour" if int(fields.minute) == 0 else f"every hour, {past} past"
    hours = _step(fields.hour, 24)
    if hours is not None and _is_number(fields.minute) and int(fields.minute) == 0:
        return f"every {duration_in_words(hours * 3_600, each=True)}"
    return None


def _step(field: str, whole: int) -> int | None:
    """How far apart, for `*` and for steps that divide the whole."""
    if field == "*":
        return 1
    found = re.fullmatch(r"\*/(\d{1,2})", field)
    step = int(found[1]) if found else 0
    return step if step and whole % step == 0 and step < whole else None


def _days(fields: CronFields) -> str | None:
    """On which days: "" for all of them, None where it takes more words than these."""
    day, month, weekday = fields.day, fields.month, fields.weekday.lower()
    if (day, month) == ("*", "*"):
        return _weekdays(weekday)
    if weekday != "*" or not _is_number(day):
        return None
    if month == "*":
        return f"on the {_ordinal(int(day))} of every month"
    if _is_number(month):
        return f"every year on {int(day)} {_MONTHS[int(month) - 1]}"
    return None


def _weekdays(field: str) -> str | None:
    if field == "*":
        return ""
    if field in ("1-5", "mon-fri"):
        return "every weekday"
    names = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "7")
    numbers = {
        (names.index(part) if part in names else int(part)) % 7
        for part in field.split(",")
        if part in names or _is_number(part)
    }
    if len(numbers) != len(field.split(",")):
        return None
    return "every " + listed(
        [DAYS[(number - 1) % 7] for number in sorted(numbers, key=lambda day: (day - 1) % 7)]
    )


def _is_number(field: str) -> bool:
    return re.fullmatch(r"[0-9]{1,2}", field) is not None


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _date(local: datetime, *, with_year: bool = True) -> str:
    said = f"{DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}"
    return f"{said} {local.year}" if with_year else said


def _time(local: datetime) -> str:
    """Seconds only where they say something: intervals may be due at any."""
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"


def _zone_after(zone: str, local_zone: str | None) -> str:
    return "" if zone == local_zone else f" ({zone})"
