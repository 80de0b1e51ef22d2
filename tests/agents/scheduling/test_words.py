"""Triggers and due times in English."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.durations import duration_in_words
from agents.scheduling.due_times import check_cron
from agents.scheduling.words import (
    due_in_words,
    in_words,
    listed,
    moment_in_words,
)
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

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 8 * * *", "every day at 08:00"),
        ("@daily", "every day at 00:00"),
        ("0 8 * * 1-5", "every weekday at 08:00"),
        ("0 8 * * MON-FRI", "every weekday at 08:00"),
        ("0 9 * * 1", "every Monday at 09:00"),
        ("0 9 * * sat,0", "every Saturday and Sunday at 09:00"),
        ("0 9 * * 7,1,3", "every Monday, Wednesday and Sunday at 09:00"),
        ("30 18,8,12 * * *", "every day at 08:30, 12:30 and 18:30"),
        ("5 0 1 * *", "on the 1st of every month at 00:05"),
        ("5 0 13 * *", "on the 13th of every month at 00:05"),
        ("5 0 22 * *", "on the 22nd of every month at 00:05"),
        ("0 9 24 12 *", "every year on 24 December at 09:00"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/15 * * * 1-5", "every 15 minutes, every weekday"),
        ("0 * * * *", "every hour"),
        ("1 * * * *", "every hour, 1 minute past"),
        ("20 * * * *", "every hour, 20 minutes past"),
        ("0 */2 * * *", "every 2 hours"),
        # steps that are uneven at the end of the hour or the day are not called even
        ("*/7 * * * *", "every seventh minute of every hour"),
        ("0 */5 * * *", "at minute 0 past every fifth hour"),
        ("0 9-17 * * 1-5", "at minute 0 past every hour from 9 through 17 on Monday through Friday"),
        ("0 0 13 * 5", "at 00:00 on the 13th day of month and on Friday"),
        ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
        ("0 9 L * *", "at 09:00 on the last day of every month"),
    ],
)
def test_a_schedule_reads_as_one_says_it(schedule: str, words: str):
    assert in_words(CronTrigger(schedule=schedule, zone="UTC"), local_zone="UTC") == words


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (IntervalTrigger(every_s=900), "every 15 minutes"),
        (IntervalTrigger(every_s=3_600), "every hour"),
        (IntervalTrigger(every_s=5_400), "every 90 minutes"),
        (IntervalTrigger(every_s=86_400), "every 24 hours"),
        (IntervalTrigger(every_s=604_800), "every 7 days"),
        (IntervalTrigger(every_s=1.5), "every 1.5 seconds"),
        (FileTrigger(folders=(Path("/a"), Path("/b")), patterns=("*.md",)), "when a file (*.md) changes in /a and /b"),
        (StartTrigger(), "when Hearth starts"),
        (WakeTrigger(), "when the computer wakes up"),
        (IdleTrigger(after_s=600), "when nobody has used the computer for 10 minutes"),
        (WebhookTrigger(hook="build"), "when the hook “build” is called"),
        (ResultTrigger(agent="News"), "when a run of “News” has succeeded"),
        (ResultTrigger(agent="News", when=ResultKind.FAILED), "when a run of “News” has failed"),
        (ResultTrigger(agent="News", when=ResultKind.ANY), "when a run of “News” has ended"),
    ],
)  # fmt: skip
def test_every_trigger_can_be_told(trigger: Trigger, words: str):
    assert in_words(trigger) == words


def test_the_zone_is_told_where_it_is_not_the_readers_own():
    trigger = CronTrigger(schedule="0 8 * * *", zone="Europe/Berlin")
    assert in_words(trigger, local_zone="Europe/Berlin") == "every day at 08:00"
    assert in_words(trigger, local_zone="Asia/Tokyo") == "every day at 08:00 (Europe/Berlin)"
    assert in_words(trigger) == "every day at 08:00 (Europe/Berlin)"


def test_a_single_moment_is_told_by_the_clock_of_its_zone():
    trigger = OnceTrigger(at=datetime(2026, 12, 1, 8, tzinfo=UTC), zone="Europe/Berlin")
    assert in_words(trigger, local_zone="Europe/Berlin") == "once, on Tuesday 1 December 2026 at 09:00"


def test_a_zone_that_has_vanished_from_the_system_keeps_nobody_from_reading():
    once = OnceTrigger(at=MONDAY, zone="Atlantis/Capital")
    assert in_words(once) == "once, on Monday 2 March 2026 at 12:00 (UTC)"
    cron = CronTrigger(schedule="0 8 * * *", zone="Atlantis/Capital")
    assert in_words(cron) == "every day at 08:00 (Atlantis/Capital)"


@pytest.mark.parametrize(
    ("due", "words"),
    [
        (datetime(2026, 3, 2, 7, tzinfo=UTC), "today at 08:00"),
        (datetime(2026, 3, 2, 22, 59, 30, tzinfo=UTC), "today at 23:59:30"),
        (datetime(2026, 3, 2, 23, tzinfo=UTC), "tomorrow, Tuesday at 00:00"),
        (datetime(2026, 3, 1, 7, tzinfo=UTC), "yesterday, Sunday at 08:00"),
        (datetime(2026, 3, 8, 7, tzinfo=UTC), "on Sunday at 08:00"),
        (datetime(2026, 3, 9, 7, tzinfo=UTC), "on Monday 9 March at 08:00"),
        (datetime(2026, 2, 27, 7, tzinfo=UTC), "on Friday 27 February at 08:00"),
        (datetime(2027, 3, 2, 7, tzinfo=UTC), "on Tuesday 2 March 2027 at 08:00"),
    ],
)
def test_a_due_time_is_told_from_where_the_reader_stands(due: datetime, words: str):
    assert due_in_words(due, BERLIN, MONDAY) == words


def test_a_moment_in_full_says_the_same_on_every_day():
    assert moment_in_words(MONDAY, BERLIN) == "Monday 2 March 2026 at 13:00"


@pytest.mark.parametrize(
    ("words", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_list_ends_with_and(words: list[str], said: str):
    assert listed(words) == said


@given(st.integers(1, 10**8))
@example(172_801)  # a second more than two days is not two days
def test_a_duration_in_words_says_exactly_how_long(seconds: int):
    said = duration_in_words(seconds)
    number, unit = said.split()
    size = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}[unit.rstrip("s")]
    assert int(number.replace(",", "")) * size == seconds
    assert unit.endswith("s") == (number != "1")


@given(st.text("0123456789*/,- montueL#", max_size=24))
def test_whatever_is_a_schedule_can_be_told(typed: str):
    try:
        check_cron(typed)
    except ValueError:
        return
    assert re.search(r"\w", in_words(CronTrigger(schedule=typed, zone="UTC"), local_zone="UTC"))


@given(st.integers(-400, 400))
def test_the_days_of_a_week_ahead_have_one_name_each(days: int):
    said = due_in_words(MONDAY + timedelta(days=days), UTC, MONDAY)
    assert said.endswith(" at 12:00")
    assert (f"{MONDAY + timedelta(days=days):%A}" in said) == (days != 0)
