"""The agent files that the README shows are ones that Hearth takes."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from agents.core import BUILT_IN_MODEL, NotifyPolicy
from agents.definitions import gate_in_words, parse_definition, policies_in_words, render_definition
from agents.definitions.capability_fields import CAPABILITY_KEYS
from agents.definitions.policy_fields import POLICY_KEYS
from agents.durations import duration_in_words
from agents.policies import (
    Budget,
    Misfire,
    MisfirePolicy,
    Overlap,
    OverlapPolicy,
    PowerClass,
    Retry,
    RunPolicy,
    TimeLimits,
)
from agents.scheduling.due_times import in_words
from agents.triggers import GateKind, TriggerKind

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```markdown\n(---\n.*?)```", README, flags=re.DOTALL)
HOME = Path("/nowhere")


@pytest.mark.parametrize("source", EXAMPLES)
def test_an_example_is_read_and_survives_being_written(source: str) -> None:
    definition = parse_definition(source, home=HOME)
    assert parse_definition(render_definition(definition), home=HOME) == definition


TABLES = README.partition("### Every key of an agent file")[2].partition("\nA hook is")[0]


@pytest.mark.parametrize(
    "key",
    [
        *("name", "description", "kind", "triggers", "gates", "output", "model", "notify"),
        *CAPABILITY_KEYS,
        *POLICY_KEYS,
        *(each.name for each in fields(Budget)),
        *TriggerKind,
        *GateKind,
        *MisfirePolicy,
        *OverlapPolicy,
        *PowerClass,
        *NotifyPolicy,
    ],
)
def test_every_word_of_an_agent_file_is_in_the_tables(key: str) -> None:
    assert key == TriggerKind.MANUAL or f"`{key}`" in TABLES


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("misfire", f"`{Misfire().policy}`; `at_most` {Misfire().at_most}; however late"),
        ("overlap", f"`{Overlap().policy}`"),
        ("retry", f"`attempts: {Retry().attempts}`, `first: {duration_in_words(Retry().first_s)}`"),
        (
            "limits",
            f"`run: {duration_in_words(TimeLimits().run_s)}`, `step: {duration_in_words(TimeLimits().step_s)}`",
        ),
        ("power", f"`{RunPolicy().power}`"),
        ("model", f"`{BUILT_IN_MODEL}`"),
    ],
)
def test_the_table_tells_the_defaults(key: str, default: str) -> None:
    row = next(line for line in TABLES.splitlines() if line.startswith(f"| `{key}` |"))
    assert row.rpartition(" | ")[2] == f"{default} |"


def test_the_morning_page_says_in_words_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    source = next(each for each in EXAMPLES if "Morning page" in each)
    definition = parse_definition(source, home=HOME, zone="Europe/Berlin")
    assert [in_words(each, local_zone="Europe/Berlin") for each in definition.triggers] == [
        "every weekday at 08:00"
    ]
    assert [gate_in_words(each) for each in definition.gates] == ["only if /home/me/Notes has changed"]
    assert policies_in_words(definition) == (
        "of the times that were missed the newest one is caught up on, if it is less than 3 hours late",
    )
