"""Numbers, times and untrusted text as the user reads them."""

from datetime import UTC, datetime, timedelta

import pytest

from app.desktop.models import words
from tests.app.desktop.fake_runtime import a_status, a_step

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.4, "12 s"), (59.9, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_moment_is_named_by_how_far_it_is() -> None:
    assert words.ago(NOW - timedelta(seconds=2), NOW) == "just now"
    assert words.ago(NOW - timedelta(seconds=40), NOW) == "40 s ago"
    assert words.ago(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert words.until(NOW + timedelta(seconds=12), NOW) == "in 12 s"
    assert words.until(NOW - timedelta(seconds=12), NOW) == "now"
    assert words.clock_time(NOW - timedelta(days=1), NOW).startswith("yesterday ")
    assert words.clock_time(NOW.replace(year=2024), NOW).endswith(" 2024")


def test_counts_have_the_right_ending() -> None:
    assert words.counted(1, "agent") == "1 agent"
    assert words.counted(1204, "file") == "1,204 files"


def test_the_engine_is_one_line() -> None:
    assert words.engine_line(a_status().engine) == "SmolLM2-135M-Instruct.Q4_1 · ready · 92 tokens/s"


def test_a_step_says_its_numbers_only_when_it_has_some() -> None:
    assert words.step_numbers(a_step()) == "412 tokens read, 96 written · 88 tokens/s"
    assert words.step_numbers(a_step(prompt_tokens=0, completion_tokens=0, tokens_per_s=None)) == ""


def test_untrusted_text_becomes_one_harmless_line() -> None:
    assert words.one_line("a\n\tb\u202e\x00c") == "a b c"
    assert words.one_line("x" * 300, 10) == "x" * 9 + "…"
