"""The benchmark of the schedule measures what it says: the same measurements, small, and a report that programs can read."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from agents.bench.command import MEASUREMENTS, main
from agents.bench.core import Row, Scale, percentile
from agents.bench.homes import spread_over_a_day
from agents.bench.leaping import LeapingClock
from agents.bench.report import as_json, as_text, missed_sentence
from agents.bench.rows.day import measure_burst, measure_day
from agents.bench.rows.history import measure_history
from agents.bench.rows.idle import measure_idle
from agents.scheduling.due_times import count_between

START = datetime(2026, 3, 2, tzinfo=UTC)
MACHINE = {"cores": 2, "memory_gb": 8.0, "system": "Linux", "load_average": 0.1, "busy_percent": 1.0}


def row(**changes: object) -> Row:
    values: dict[str, object] = {
        "name": "r",
        "meaning": "what it means",
        "unit": "s",
        "samples": (3.0, 1.0, 2.0),
        "max_ours": 2.0,
    }
    return Row(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="h-") as name:  # a socket's path has to be short
        yield Path(name)


def test_a_goal_is_met_by_the_median() -> None:
    assert (row().ours, row().met) == (2.0, True)
    assert row(samples=(3.0, 2.5, 1.0)).met is False
    assert row(max_ours=None).met is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5.0), (0.99, 10.0), (0.1, 1.0), (1.0, 10.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], share) == expected


def test_the_report_has_the_form_of_all_benchmarks_and_names_what_was_missed() -> None:
    rows = [row(), row(name="slow", samples=(9.0,))]
    plain = json.loads(json.dumps(as_json(MACHINE, rows)))
    assert set(plain) == {"machine", "rows"}
    assert plain["rows"][1] == {
        "name": "slow", "ours": 9.0, "peer": None, "ratio": None, "unit": "s", "goal": "ours <= 2", "met": False,
    }  # fmt: skip
    assert missed_sentence(rows) == "1 of 2 goals missed: slow."
    assert missed_sentence(rows[:1]) is None
    assert "slow" in as_text(MACHINE, rows)


def test_a_leap_moves_both_clocks_and_between_leaps_they_run() -> None:
    clock = LeapingClock(START)
    before_s = clock.monotonic()
    clock.leap_to(START + timedelta(hours=1))
    assert START + timedelta(hours=1) <= clock.now() < START + timedelta(hours=1, minutes=1)
    assert 3590 < clock.monotonic() - before_s < 3660
    clock.leap_to(START)  # never back
    now = clock.now()
    time.sleep(0.01)
    assert clock.now() - now >= timedelta(milliseconds=10)


def test_ten_thousand_due_times_a_day_are_that_many() -> None:
    end = START + timedelta(days=1)
    dues = sum(
        count_between(trigger, start=START, end=end, anchor=START)
        for trigger in spread_over_a_day(1_000, 10_000)
    )
    assert 9_900 <= dues <= 10_700


async def test_a_small_day_loses_and_doubles_nothing(folder: Path) -> None:
    rows = await measure_day(folder, Scale(agents=10, dues_per_day=240, day_hours=2.0))
    by_name = {found.name: found for found in rows}
    assert by_name["lost_or_doubled"].ours == 0.0
    assert 0.0 <= (by_name["due_to_claimed"].ours or 0) <= (by_name["due_to_started"].ours or 0)
    assert {found.name for found in rows} == set(MEASUREMENTS["day"][0])


@pytest.mark.real
async def test_a_small_burst_is_waited_for_on_the_real_clock(folder: Path) -> None:
    [found] = await measure_burst(folder, Scale(burst=5))
    assert found.ours is not None
    assert 0.0 <= found.ours < 60.0


@pytest.mark.real
@pytest.mark.timeout(120)
async def test_what_an_idle_runtime_costs_is_asked_of_a_real_one(folder: Path) -> None:
    rows = await measure_idle(folder, Scale(idle_agents=3, idle_s=1.0))
    assert [found.name for found in rows] == list(MEASUREMENTS["idle"][0])
    assert (rows[1].ours or 0) > 10


@pytest.mark.real
@pytest.mark.timeout(120)
async def test_pages_of_a_long_past_are_read_through_the_socket(folder: Path) -> None:
    rows = await measure_history(folder, Scale(old_runs=300, starts=1, pages=3))
    assert [found.name for found in rows] == list(MEASUREMENTS["history"][0])
    assert len(rows[1].samples) == 3


def test_an_unknown_row_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--row", "nope"])
    assert ended.value.code == 2
    assert "due_to_claimed" in capsys.readouterr().err


@pytest.mark.parametrize("trouble", [TimeoutError(), psutil.NoSuchProcess(1), ConnectionResetError()])
def test_a_measurement_that_can_not_be_taken_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trouble: Exception
) -> None:
    async def fails(*_: object) -> list[Row]:
        raise trouble

    monkeypatch.setitem(MEASUREMENTS, "idle", (("idle_cpu",), fails))
    assert main(["--row", "idle_cpu"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith("A measurement could not be taken")
    assert told.out == ""
