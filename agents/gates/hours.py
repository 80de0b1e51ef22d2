"""Whether it is a time of day, and a day, at which an agent may work; pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from agents.gates.finding import Finding
from agents.scheduling.wall_clock import find_zone
from agents.scheduling.words import DAYS
from agents.triggers import HoursGate


def check_hours(gate: HoursGate, now: datetime) -> Finding:
    """By what the wall clock shows: an hour that it shows twice counts twice, and one that it leaves out is not there.

    From `start` on, and no more at `end`. A span over midnight belongs to the day that it began on. Equal times are the whole day.
    """
    try:
        wall = now.astimezone(find_zone(gate.zone))
    except ValueError:  # the system has lost it since the agent was added
        return Finding(is_open=False, detail=f"this computer does not know the time zone {gate.zone}")
    shown = f"it is {DAYS[wall.weekday()]}, {wall:%H:%M} ({gate.zone})"
    if _is_within(gate, wall):
        return Finding(is_open=True, detail=f"within its hours: {shown}")
    return Finding(is_open=False, detail=f"works {in_words(gate)}; {shown}")


def next_opening(gate: HoursGate, now: datetime) -> datetime | None:
    """When the gate opens next, for one that is closed now; None when no day is left to it, or its time zone is not known here.

    On a day on which the clock leaves out the hour of its start, that is as much after the gap as the start lies within it.
    """
    try:
        zone = find_zone(gate.zone)
    except ValueError:
        return None
    start = time.min if gate.start == gate.end else gate.start
    today = now.astimezone(zone).date()
    days = [today + timedelta(days=ahead) for ahead in range(8)]
    openings = [datetime.combine(day, start, zone) for day in days if day.weekday() in gate.days]
    return next((opening.astimezone(UTC) for opening in openings if opening.astimezone(UTC) > now), None)


def in_words(gate: HoursGate) -> str:
    """`from 22:00 to 06:00 on Monday, Friday`."""
    span = f"from {gate.start:%H:%M} to {gate.end:%H:%M}"
    if set(gate.days) == set(range(7)):
        return span
    return f"{span} on {', '.join(DAYS[day] for day in sorted(gate.days))}"


def _is_within(gate: HoursGate, wall: datetime) -> bool:
    shown, today = wall.time(), wall.weekday()
    if gate.start < gate.end:
        return today in gate.days and gate.start <= shown < gate.end
    if gate.start == gate.end:
        return today in gate.days
    yesterday = (wall.date() - timedelta(days=1)).weekday()
    return (today in gate.days and shown >= gate.start) or (yesterday in gate.days and shown < gate.end)
