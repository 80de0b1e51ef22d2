"""Hours go by what the wall clock shows, over midnight and through daylight saving."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.gates.hours import check_hours, in_words, next_opening
from agents.triggers import HoursGate

BERLIN = "Europe/Berlin"
WEEKDAYS = (0, 1, 2, 3, 4)


def is_open(
    now: str, start: str, end: str, days: tuple[int, ...] = tuple(range(7)), zone: str = BERLIN
) -> bool:
    gate = HoursGate(start=time.fromisoformat(start), end=time.fromisoformat(end), zone=zone, days=days)
    return check_hours(gate, datetime.fromisoformat(now).replace(tzinfo=ZoneInfo(zone))).is_open


@pytest.mark.parametrize(
    ("now", "expected"),
    [("2026-03-02T07:59", False), ("2026-03-02T08:00", True), ("2026-03-02T17:59:59", True),
     ("2026-03-02T18:00", False), ("2026-03-07T12:00", False), ("2026-03-08T12:00", False)],
)  # fmt: skip
def test_office_hours_are_open_from_the_first_minute_to_before_the_last(now: str, expected: bool) -> None:
    assert is_open(now, "08:00", "18:00", WEEKDAYS) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [("2026-03-06T22:00", True), ("2026-03-06T21:59", False), ("2026-03-07T05:59", True),
     ("2026-03-07T06:00", False), ("2026-03-07T22:30", False), ("2026-03-06T03:00", False)],
)  # fmt: skip
def test_a_night_belongs_to_the_day_that_it_began_on(now: str, expected: bool) -> None:
    friday = (4,)
    assert is_open(now, "22:00", "06:00", friday) is expected


def test_the_night_from_sunday_to_monday_is_sundays() -> None:
    assert is_open("2026-03-09T01:00", "22:00", "06:00", (6,))
    assert not is_open("2026-03-09T01:00", "22:00", "06:00", (0,))


def test_equal_times_are_the_whole_day() -> None:
    assert is_open("2026-03-02T00:00", "09:00", "09:00", (0,))
    assert not is_open("2026-03-03T09:00", "09:00", "09:00", (0,))


def open_minutes(day: str, start: str, end: str) -> int:
    """In a whole day of UTC around that day in Berlin."""
    gate = HoursGate(start=time.fromisoformat(start), end=time.fromisoformat(end), zone=BERLIN)
    midnight = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
    return sum(check_hours(gate, midnight + timedelta(minutes=minute)).is_open for minute in range(22 * 60))


@pytest.mark.parametrize(("day", "minutes"), [("2026-03-28", 60), ("2026-03-29", 0), ("2026-10-25", 120)])
def test_an_hour_that_the_clock_leaves_out_is_not_there_and_one_that_it_shows_twice_is_twice(
    day: str, minutes: int
) -> None:
    assert open_minutes(day, "02:00", "03:00") == minutes


@given(
    start=st.times(),
    end=st.times(),
    now=st.integers(1_600_000_000, 3_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
)
def test_of_a_span_and_the_rest_of_the_day_exactly_one_is_open(start: time, end: time, now: datetime) -> None:
    if start == end:
        return
    one, other = (HoursGate(start=a, end=b, zone=BERLIN) for a, b in ((start, end), (end, start)))
    assert check_hours(one, now).is_open != check_hours(other, now).is_open


@given(
    start=st.times(),
    end=st.times(),
    days=st.sets(st.integers(0, 6), min_size=1),
    zone=st.sampled_from([BERLIN, "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
    now=st.integers(1_600_000_000, 3_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
)
def test_a_closed_gate_opens_next_after_now_and_not_before_anything_is_open(
    start: time, end: time, days: set[int], zone: str, now: datetime
) -> None:
    gate = HoursGate(start=start, end=end, zone=zone, days=tuple(days))
    if check_hours(gate, now).is_open:
        return
    opening = next_opening(gate, now)
    assert opening is not None
    assert now < opening <= now + timedelta(days=7, hours=2)
    offsets = {(now + timedelta(hours=hours)).astimezone(ZoneInfo(zone)).utcoffset() for hours in range(172)}
    if len(offsets) == 1:  # where the clock leaves out no hour, it is open then, and was not a moment before
        assert check_hours(gate, opening).is_open
        assert not check_hours(gate, opening - timedelta(microseconds=1)).is_open or start == end


def test_a_gate_whose_start_the_clock_leaves_out_opens_after_the_gap() -> None:
    gate = HoursGate(start=time(2, 30), end=time(5), zone=BERLIN)
    opening = next_opening(gate, datetime(2026, 3, 29, 0, 0, tzinfo=UTC))
    assert opening == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert check_hours(gate, opening).is_open


def test_a_zone_that_vanished_from_the_system_closes_the_gate() -> None:
    finding = check_hours(HoursGate(start=time(8), end=time(18), zone="Nowhere/Here"), datetime.now(UTC))
    assert (finding.is_open, finding.detail) == (
        False,
        "this computer does not know the time zone Nowhere/Here",
    )


def test_a_closed_gate_says_when_it_opens_and_what_the_time_is() -> None:
    gate = HoursGate(start=time(8), end=time(18), zone=BERLIN, days=(4, 0))
    finding = check_hours(gate, datetime(2026, 3, 3, 6, 12, tzinfo=UTC))
    assert finding.detail == (
        "works from 08:00 to 18:00 on Monday, Friday; it is Tuesday, 07:12 (Europe/Berlin)"
    )
    assert in_words(HoursGate(start=time(22), end=time(6), zone=BERLIN)) == "from 22:00 to 06:00"
