"""The result: medians, ratios that always say "times better", goals, the JSON that programs read, and the table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.bench.core import Goal, Row, Scale, full_scale, quick_scale
from engine.bench.machine import Machine, describe_machine, read_bandwidth
from engine.bench.report import as_json, as_text, missed_sentence

MACHINE = Machine(
    cpu="Test 9000", cores=2, memory_gb=16.0, amx=False, system="Linux 6", load_average=0.1, busy_percent=2.0
)


def row(**changes: Any) -> Row:
    fields: dict[str, Any] = {"name": "decode_1", "meaning": "writing", "unit": "tokens/s", "ours": (90.0,)}
    return Row(**{**fields, **changes})


def test_the_ratio_is_of_medians_and_one_outlier_changes_little() -> None:
    measured = row(ours=(100.0, 120.0, 5.0), peer=(50.0, 50.0, 900.0))
    assert (measured.ours_median, measured.peer_median, measured.ratio) == (100.0, 50.0, 2.0)


def test_where_less_is_better_a_smaller_value_of_ours_gives_a_greater_ratio() -> None:
    assert row(ours=(0.5,), peer=(10.0,), higher_is_better=False).ratio == 20.0
    assert row(ours=(10.0,), peer=(0.5,), higher_is_better=False).ratio == 0.05


def test_a_ratio_with_nothing_measured_is_none() -> None:
    assert row(ours=()).ratio is None
    assert row(peer=(0.0,)).ratio is None


@pytest.mark.parametrize(
    ("goal", "ours", "peer", "met"),
    [
        (Goal(min_ratio=1.0), (90.0,), (90.0,), True),
        (Goal(min_ratio=1.0), (89.0,), (90.0,), False),
        (Goal(min_ratio=1.0), (89.0,), (), None),
        (Goal(max_ours=5.0), (5.0,), (), True),
        (Goal(max_ours=5.0), (5.1,), (1.0,), False),
        (Goal(max_ours=5.0), (), (), None),
        (None, (5.0,), (1.0,), None),
    ],
)
def test_a_goal_is_met_missed_or_can_t_be_told(
    goal: Goal | None, ours: tuple[float, ...], peer: tuple[float, ...], met: bool | None
) -> None:
    assert row(goal=goal, ours=ours, peer=peer).met is met


def test_the_json_has_the_form_that_all_benchmarks_share() -> None:
    rows = [row(peer=(60.0,), peer_name="llama-server", goal=Goal(min_ratio=1.0)), row(name="roofline")]
    written = json.loads(json.dumps(as_json(MACHINE, rows)))
    assert set(written) == {"machine", "rows"}
    assert written["machine"]["cpu"] == "Test 9000"
    assert written["rows"] == [
        {
            "name": "decode_1", "ours": 90.0, "peer": 60.0, "ratio": 1.5, "unit": "tokens/s",
            "goal": "ratio >= 1", "met": True,
        },
        {
            "name": "roofline", "ours": 90.0, "peer": None, "ratio": None, "unit": "tokens/s",
            "goal": None, "met": None,
        },
    ]  # fmt: skip


def test_the_table_is_aligned_and_says_what_each_row_means() -> None:
    rows = [row(peer=(60.0, 70.0), peer_name="llama-server", goal=Goal(min_ratio=2.0)), row(name="other")]
    lines = as_text(MACHINE, rows).splitlines()
    heading, first, second = lines[2:5]
    assert first.index("MISSED") > heading.index("goal") == first.index("ratio ≥ 2")
    assert heading.index("ratio") + len("ratio") == first.index("1.38") + len("1.38")
    assert second.startswith("other ")
    assert "decode_1: writing (peer: llama-server)." in lines


def test_a_goal_that_needs_a_peer_says_so_instead_of_looking_open() -> None:
    alone = as_text(MACHINE, [row(goal=Goal(min_ratio=2.0))])
    assert "ratio ≥ 2  no peer" in alone
    assert "--peer names a program" in alone
    assert "no peer" not in as_text(MACHINE, [row(goal=Goal(min_ratio=2.0), peer=(60.0,)), row()])


def test_a_busy_machine_is_named_before_the_numbers() -> None:
    busy = Machine(cpu="x", cores=2, memory_gb=1, amx=True, system="y", load_average=None, busy_percent=60.0)
    assert "60 % taken by other programs" in as_text(busy, [row()]).splitlines()[0]
    assert "taken by" not in as_text(MACHINE, [row()])


def test_missed_goals_are_named_and_none_missed_is_silence() -> None:
    good, bad = row(goal=Goal(max_ours=100.0)), row(name="bad", goal=Goal(max_ours=1.0))
    assert missed_sentence([good, bad, row()]) == "1 of 2 goals missed: bad."
    assert missed_sentence([good, row()]) is None


def test_the_machine_is_described_and_its_memory_can_be_read() -> None:
    machine = describe_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert 0 <= machine.busy_percent <= 100
    assert read_bandwidth(1) > 1e8


@pytest.mark.parametrize("scale", [full_scale, quick_scale])
def test_nothing_can_be_measured_no_times(scale: Any) -> None:
    assert isinstance(scale(1), Scale)
    with pytest.raises(ValueError, match="1 or more"):
        scale(0)
