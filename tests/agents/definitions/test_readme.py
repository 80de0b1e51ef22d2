"""The agent files that the README shows are ones that Hearth takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.definitions import gate_in_words, parse_definition, policies_in_words, render_definition
from agents.scheduling.due_times import in_words

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```markdown\n(---\n.*?)```", README, flags=re.DOTALL)
HOME = Path("/nowhere")


@pytest.mark.parametrize("source", EXAMPLES)
def test_an_example_is_read_and_survives_being_written(source: str) -> None:
    definition = parse_definition(source, home=HOME)
    assert parse_definition(render_definition(definition), home=HOME) == definition


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
