"""Next due times: nothing is lost, nothing comes twice, and long spans are cheap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.scheduling.due_times import (
    check_cron,
    check_zone,
    count_between,
    dues_between,
    newest_dues,
    next_due,
)
from agents.triggers import CronTrigger, IntervalTrigger, OnceTrigger, TimedTrigger

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Antarctica/Troll",
    "Asia/Kathmandu",
]


def every(seconds: float) -> IntervalTrigger:
    return IntervalTrigger(every_s=seconds)


def cron(schedule: str, zone: str = "Europe/Berlin") -> CronTrigger:
    return CronTrigger(schedule=schedule, zone=zone)


def part(lowest: int, highest: int) -> st.SearchStrategy[str]:
    """One field: anything, a step, a number, a list, a range with a step."""
    number = st.integers(lowest, highest)
    return st.one_of(
        st.just("*"),
        st.just("*"),
        st.integers(2, highest).map(lambda step: f"*/{step}"),
        number.map(str),
        st.lists(number, min_size=1, max_size=4).map(lambda numbers: ",".join(map(str, numbers))),
        st.tuples(number, number, st.integers(1, 5)).map(
            lambda span: f"{min(span[:2])}-{max(span[:2])}/{span[2]}"
        ),
    )


schedules = st.tuples(
    part(0, 59), part(0, 23), st.one_of(st.just("*"), part(1, 28)), st.just("*"), part(0, 6)
).map(" ".join)
crons = st.builds(CronTrigger, schedule=schedules, zone=st.sampled_from(ZONES))
intervals = st.integers(1_200, 12 * 86_400).map(lambda quarters: every(quarters / 4))
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
onces = st.builds(OnceTrigger, at=moments, zone=st.sampled_from(ZONES))
triggers = st.one_of(crons, intervals, onces)
spans = st.integers(0, 9 * 86_400).map(lambda seconds: timedelta(seconds=seconds))


@settings(max_examples=100, deadline=None)
@given(trigger=triggers, start=moments, span=spans, anchor=moments)
def test_one_after_the_other_gives_the_same_as_all_at_once(
    trigger: TimedTrigger, start: datetime, span: timedelta, anchor: datetime
):
    end = start + min(span, timedelta(hours=30))
    stepped: list[datetime] = []
    after = start
    while (due := next_due(trigger, after=after, anchor=anchor)) is not None and due.at <= end:
        assert due.at > after
        stepped.append(due.at)
        after = due.at
    found = [
        due.at for due in dues_between(trigger, start=start, end=end, anchor=anchor, limit=len(stepped) + 9)
    ]
    assert found == stepped


@settings(max_examples=120, deadline=None)
@given(trigger=triggers, start=moments, span=spans, anchor=moments, limit=st.integers(1, 40))
def test_counts_and_the_newest_agree_with_the_whole_list(
    trigger: TimedTrigger, start: datetime, span: timedelta, anchor: datetime, limit: int
):
    end = start + span
    whole = dues_between(trigger, start=start, end=end, anchor=anchor, limit=10**6)
    assert count_between(trigger, start=start, end=end, anchor=anchor) == len(whole)
    assert newest_dues(trigger, start=start, end=end, anchor=anchor, limit=limit) == whole[-limit:]
    assert dues_between(trigger, start=start, end=end, anchor=anchor, limit=limit) == whole[:limit]


@settings(max_examples=100, deadline=None)
@given(trigger=triggers, start=moments, anchor=moments, cuts=st.lists(st.floats(0, 1), max_size=5))
def test_wherever_one_looks_from_the_next_due_time_is_the_same(
    trigger: TimedTrigger, start: datetime, anchor: datetime, cuts: list[float]
):
    dues = dues_between(trigger, start=start, end=start + timedelta(days=3), anchor=anchor, limit=20)
    for before, due in pairwise(dues):
        for cut in cuts:
            look_from = before.at + (due.at - before.at) * min(cut, 0.999_999)
            assert next_due(trigger, after=look_from, anchor=anchor) == due


@settings(max_examples=100, deadline=None)
@given(trigger=triggers, start=moments, middle=spans, rest=spans, anchor=moments)
def test_spans_laid_end_to_end_count_each_due_time_once(
    trigger: TimedTrigger, start: datetime, middle: timedelta, rest: timedelta, anchor: datetime
):
    cut, end = start + middle, start + middle + rest
    parts = count_between(trigger, start=start, end=cut, anchor=anchor) + count_between(
        trigger, start=cut, end=end, anchor=anchor
    )
    assert parts == count_between(trigger, start=start, end=end, anchor=anchor)


@given(seconds=st.integers(1, 10**5), steps=st.integers(1, 10**5))
def test_an_interval_does_not_drift_however_late_one_looks(seconds: int, steps: int):
    at = NOW + timedelta(seconds=seconds) * steps
    late = at + timedelta(seconds=seconds * 0.4)
    due = next_due(every(seconds), after=late, anchor=NOW)
    assert due is not None
    assert due.at == at + timedelta(seconds=seconds)


def test_an_interval_keeps_its_beat_when_the_clock_was_set_back_before_its_anchor():
    due = next_due(every(600), after=NOW - timedelta(days=365, seconds=1), anchor=NOW)
    assert due is not None
    assert due.at == NOW - timedelta(days=365)


def test_an_interval_longer_than_the_calendar_is_never_due():
    assert next_due(every(1e15), after=NOW, anchor=NOW) is None


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="longer than nothing"):
        next_due(every(0), after=NOW, anchor=NOW)


def test_one_moment_is_due_until_it_has_come():
    trigger = OnceTrigger(at=NOW, zone="Europe/Berlin")
    before = NOW - timedelta(microseconds=1)
    due = next_due(trigger, after=before, anchor=NOW)
    assert due is not None
    assert due.at == NOW
    assert next_due(trigger, after=NOW, anchor=NOW) is None


@pytest.mark.parametrize(
    ("schedule", "after", "at"),
    [
        ("0 8 * * 1-5", "2026-03-27T08:00", "2026-03-30T06:00"),  # Friday to Monday, over the change
        ("0 8 * * mon-fri", "2026-03-27T08:00", "2026-03-30T06:00"),
        ("0 0 29 2 *", "2026-03-01T00:00", "2028-02-28T23:00"),
        ("0 9 L * *", "2026-04-01T00:00", "2026-04-30T07:00"),
        ("0 9 * * 5L", "2026-04-01T00:00", "2026-04-24T07:00"),
        ("0 9 * * mon#2", "2026-04-01T00:00", "2026-04-13T07:00"),
        ("0 9 1 * 5", "2026-04-01T08:00", "2026-04-03T07:00"),  # the 1st or a Friday
        ("0 9 */2 * 5", "2026-04-01T08:00", "2026-04-03T07:00"),  # a Friday with an odd date
        ("@daily", "2026-04-01T08:00", "2026-04-01T22:00"),
        ("@Hourly", "2026-04-01T08:00", "2026-04-01T09:00"),
        ("@weekly", "2026-04-01T08:00", "2026-04-04T22:00"),
        ("@monthly", "2026-04-01T08:00", "2026-04-30T22:00"),
        ("@yearly", "2026-04-01T08:00", "2026-12-31T23:00"),
    ],
)
def test_cron_fields_mean_what_crontab_says(schedule: str, after: str, at: str):
    check_cron(schedule)
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    due = next_due(cron(schedule), after=moment, anchor=moment)
    assert due is not None
    assert due.at == datetime.fromisoformat(at).replace(tzinfo=UTC)


def test_a_year_of_minutes_is_counted_and_its_newest_are_found():
    end = NOW + timedelta(days=365)
    assert count_between(cron("* * * * *"), start=NOW, end=end, anchor=NOW) == 365 * 24 * 60
    newest = newest_dues(cron("* * * * *"), start=NOW, end=end, anchor=NOW, limit=100)
    assert [due.at for due in newest] == [end - timedelta(minutes=n) for n in range(99, -1, -1)]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("61 * * * *", "The minute field “61”"),
        ("* 24 * * *", "The hour field “24”"),
        ("* * 0 * *", "The day-of-month field “0”"),
        ("* * 32 * *", "The day-of-month field “32”"),
        ("* * * foo *", "The month field “foo”"),
        ("* * * * 8", "The day-of-week field “8”"),
        ("*/0 * * * *", "The minute field “*/0”"),
        ("5-1 * * * *", "The minute field “5-1”"),
        ("0 8 * *", "must have five fields"),
        ("0 0 8 * * *", "must have five fields"),
        ("", "must have five fields"),
        ("@reboot", "must have five fields"),
        ("1," * 200 + "1 * * * *", "must have five fields"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 2,4,6,9,11 *", "never comes"),
    ],
)
def test_a_schedule_that_is_no_schedule_is_refused_in_one_sentence(schedule: str, said: str):
    with pytest.raises(ValueError) as refused:
        check_cron(schedule)
    assert said in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("0123456789*/,-#LW@ montue", max_size=30)))
def test_whatever_is_typed_is_a_schedule_or_refused(typed: str):
    try:
        check_cron(typed)
    except ValueError:
        return
    assert next_due(cron(typed), after=NOW, anchor=NOW) is not None


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "", "../etc/passwd", "/etc/localtime", "a\0b"])
def test_a_zone_that_nobody_knows_is_refused_in_one_sentence(name: str):
    with pytest.raises(ValueError, match="There is no time zone"):
        check_zone(name)


@pytest.mark.parametrize("name", ZONES)
def test_zones_of_the_world_are_known(name: str):
    check_zone(name)
