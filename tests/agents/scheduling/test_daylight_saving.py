"""Due times around changes of the clock, in every kind of zone, against a model of Debian's cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.scheduling.due_times import count_between, dues_between, next_due
from agents.triggers import CronTrigger
from tests.agents.scheduling.debian_cron import debian_runs, jumps, walk

HOUR = timedelta(hours=1)
HALF = timedelta(minutes=30)

# zone, day of the change (local), and what the clock on the wall does
CHANGES = [
    ("Europe/Berlin", "2026-03-29", HOUR),
    ("Europe/Berlin", "2026-10-25", -HOUR),
    ("Europe/London", "2026-03-29", HOUR),
    ("Europe/London", "2026-10-25", -HOUR),
    ("Europe/Dublin", "2026-03-29", HOUR),  # its winter time is the "saving" one
    ("Europe/Dublin", "2026-10-25", -HOUR),
    ("America/New_York", "2026-03-08", HOUR),
    ("America/New_York", "2026-11-01", -HOUR),
    ("America/St_Johns", "2026-03-08", HOUR),
    ("America/St_Johns", "2026-11-01", -HOUR),
    ("America/St_Johns", "2010-03-14", HOUR),  # at one minute past midnight
    ("America/St_Johns", "2010-11-06", -HOUR),  # from there back to the day before
    ("America/Havana", "2026-03-08", HOUR),  # midnight does not exist
    ("America/Havana", "2026-11-01", -HOUR),  # midnight comes twice
    ("America/Santiago", "2026-09-06", HOUR),
    ("America/Santiago", "2026-04-04", -HOUR),  # at midnight, back to the day before
    ("America/Sao_Paulo", "2018-11-04", HOUR),
    ("America/Sao_Paulo", "2018-02-17", -HOUR),
    ("Atlantic/Azores", "2026-03-29", HOUR),
    ("Atlantic/Azores", "2026-10-25", -HOUR),
    ("Africa/Casablanca", "2026-03-22", HOUR),
    ("Africa/Casablanca", "2026-02-15", -HOUR),
    ("Africa/Cairo", "2026-04-24", HOUR),
    ("Africa/Cairo", "2026-10-29", -HOUR),
    ("Asia/Tehran", "2021-03-22", HOUR),
    ("Asia/Tehran", "2021-09-21", -HOUR),
    ("Asia/Beirut", "2026-03-29", HOUR),
    ("Asia/Beirut", "2026-10-24", -HOUR),
    ("Australia/Sydney", "2026-10-04", HOUR),
    ("Australia/Sydney", "2026-04-05", -HOUR),
    ("Australia/Lord_Howe", "2026-10-04", HALF),
    ("Australia/Lord_Howe", "2026-04-05", -HALF),
    ("Pacific/Chatham", "2026-09-27", HOUR),  # at 02:45
    ("Pacific/Chatham", "2026-04-05", -HOUR),
    ("Antarctica/Troll", "2026-03-29", 2 * HOUR),
    ("Antarctica/Troll", "2026-10-25", -2 * HOUR),
    ("Asia/Pyongyang", "2018-05-04", HALF),  # at 23:30
    ("America/Caracas", "2007-12-09", -HALF),
    ("Antarctica/Casey", "2009-10-18", 3 * HOUR),  # as far as a correction of the date
    ("Pacific/Apia", "2011-12-30", 24 * HOUR),  # a day that never was
]

SCHEDULES = [
    # fixed times: inside gaps and folds, at their edges, beside them
    "0 0 * * *",
    "1 0 * * *",
    "30 0 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "30 2 * * *",
    "15,45 2 * * *",
    "50 2 * * *",
    "0 3 * * *",
    "30 3 * * *",
    "0,30 0-4 * * *",
    "20 23 * * *",
    "59 23 * * *",
    "7 0-23 * * *",
    "0 0-23/3 * * *",
    # by what the clock shows
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "30 * * * *",
    "5 */2 * * *",
    "0 */3 * * *",
    "*/40 * * * *",
    "*/20 0 * * *",
    "*/10 2 * * *",
    "* 3 * * *",
    "*/7 23 * * *",
    # days
    "30 2 {day} * *",
    "0 0 {day} {month} *",
    "*/15 0-3 {day} * *",
    "30 * {next} * *",
    "30 1 * * {weekday}",
    "0 0 1 * {weekday}",
    "15 2 {day} * mon",
    "0 2 * jan-dec sun-sat",
]


def filled(schedule: str, day: str) -> str:
    date = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return schedule.format(
        day=date.day,
        month=date.month,
        next=(date + timedelta(days=1)).day,
        weekday=date.isoweekday() % 7,
    )


def around(day: str) -> tuple[datetime, datetime]:
    """From two days before the change to three after it; the zone's own day lies within."""
    noon = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
    return noon - timedelta(days=2), noon + timedelta(days=3)


def cron(schedule: str, zone: str) -> CronTrigger:
    return CronTrigger(schedule=schedule, zone=zone)


def ours(trigger: CronTrigger, start: datetime, end: datetime) -> list[datetime]:
    return [due.at for due in dues_between(trigger, start=start, end=end, anchor=start, limit=100_000)]


@pytest.mark.parametrize(("zone", "day", "jump"), CHANGES)
def test_the_zone_data_has_the_change_that_the_table_names(zone: str, day: str, jump: timedelta):
    start, end = around(day)
    ((at, found),) = jumps(walk(zone, start, end))
    assert found == jump
    assert start + timedelta(hours=6) < at < end - timedelta(hours=6)


@pytest.mark.parametrize(("zone", "day", "jump"), CHANGES)
def test_it_is_due_when_debian_cron_would_run_it(zone: str, day: str, jump: timedelta):
    start, end = around(day)
    schedules = [filled(schedule, day) for schedule in SCHEDULES]
    expected = {schedule: debian_runs(schedule, walk(zone, start, end)) for schedule in schedules}
    assert {schedule: ours(cron(schedule, zone), start, end) for schedule in schedules} == expected
    counted = {
        schedule: count_between(cron(schedule, zone), start=start, end=end, anchor=start)
        for schedule in schedules
    }
    assert counted == {schedule: len(runs) for schedule, runs in expected.items()}


minutes = st.sampled_from(["*", "0", "30", "1", "59", "*/15", "*/7", "10-50/20", "5,35"])
hours = st.sampled_from(["*", "0", "1", "2", "3", "23", "*/2", "0-3", "22,23,0", "1-23/2"])
days = st.sampled_from(["*", "*", "*/2", "1-15", "29,30,31", "4,5,8"])
weekdays = st.sampled_from(["*", "*", "0", "sat,sun", "1-5", "*/2"])


@settings(max_examples=150, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    minute=minutes,
    hour=hours,
    day=days,
    weekday=weekdays,
    begin_min=st.integers(0, 2 * 24 * 60),
)
def test_it_agrees_with_debian_cron_wherever_it_begins_to_look(
    change: tuple[str, str, timedelta], minute: str, hour: str, day: str, weekday: str, begin_min: int
):
    zone, on, _ = change
    start, end = around(on)
    schedule = f"{minute} {hour} {day} * {weekday}"
    expected = debian_runs(schedule, walk(zone, start, end))
    begin = start + timedelta(minutes=begin_min)
    assert ours(cron(schedule, zone), begin, end) == [at for at in expected if at > begin]


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "at", "note"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00+00:00",
            "2026-03-29T01:00+00:00",
            "02:30 does not exist that day; it runs at 03:00.",
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00+00:00",
            "2026-10-25T00:30+00:00",
            "02:30 comes twice that day; it runs the first time.",
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:30+00:00",
            "2026-10-25T01:00+00:00",
            "02:00 comes twice that day; this is the second time.",
        ),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T12:00+00:00", "2026-03-30T00:30+00:00", None),
    ],
)
def test_a_due_time_says_what_daylight_saving_does_to_it(
    schedule: str, zone: str, after: str, at: str, note: str | None
):
    moment = datetime.fromisoformat(after)
    due = next_due(cron(schedule, zone), after=moment, anchor=moment)
    assert due is not None
    assert (due.at, due.note) == (datetime.fromisoformat(at), note)
