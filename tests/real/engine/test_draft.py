"""A second model guesses for the built-in one: here the same file, so that nearly every guess stands."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.builtin import built_in_embedder, built_in_model
from engine.core import Finished
from engine.supervisor import EngineSupervisor
from tests.engine.support import ROOT, request

Make = Callable[..., EngineSupervisor]


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """What the script beside this file found out; a process of its own, because llama.cpp stays where it was loaded."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("draft_child.py"))],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_text_is_the_same_with_and_without_guesses(facts: dict[str, Any]) -> None:
    assert facts["same_text"]
    assert facts["n_drafted"] > 10
    assert facts["n_accepted"] >= 0.9 * facts["n_drafted"]
    assert facts["token_s"] > 0


def test_the_small_model_stays_in_step_when_a_guess_falls(facts: dict[str, Any]) -> None:
    assert facts["after_rejection"]
    assert facts["after_rejection"] == facts["from_the_start"]


def test_a_long_prompt_is_read_a_part_in_each_step(facts: dict[str, Any]) -> None:
    assert facts["long_text"] > 600
    assert facts["long_steps"][:-1] == [0] * (len(facts["long_steps"]) - 1)
    assert facts["long_steps"][-1] > 0


def test_without_a_place_there_are_no_guesses(facts: dict[str, Any]) -> None:
    assert facts["no_place"]


def test_a_model_that_cannot_guess_for_this_one_is_refused_with_a_sentence(facts: dict[str, Any]) -> None:
    assert "does not write text" in facts["other_kind"]
    assert "can't guess for this model" in facts["other_vocabulary"]
    assert "choose one of the same family" in facts["other_vocabulary"]


LIST = "\n".join(
    f"{number}. The {colour} chair stands in room {number * 7}."
    for number, colour in enumerate(("red", "blue", "green", "black", "white", "brown"), start=1)
)


async def test_in_the_child_guesses_are_made_checked_and_counted(make: Make) -> None:
    plain = make(model=replace(built_in_model(), speculate=False))
    guessing = make(model=replace(built_in_model(), draft_path=built_in_model().path))
    asked = f"Repeat this list word for word:\n{LIST}"
    for engine, guesses in ((plain, False), (guessing, True)):
        events = [event async for event in engine.stream(request(asked, temperature=0.0, max_tokens=120))]
        last = events[-1]
        assert isinstance(last, Finished)
        assert last.usage.completion_tokens > 20
        assert (last.usage.drafted_tokens > 0) is guesses
        assert last.usage.accepted_tokens <= last.usage.drafted_tokens
        assert "red chair" in last.text


async def test_a_draft_model_that_does_not_fit_is_a_note_and_the_answers_come(
    make: Make, tmp_path: Path
) -> None:
    engine = make(model=replace(built_in_model(), draft_path=built_in_embedder().path))
    events = [event async for event in engine.stream(request("Name a colour.", max_tokens=4))]
    assert isinstance(events[-1], Finished)
    await engine.stop()
    assert "does not write text" in (tmp_path / "engine.log").read_text(encoding="utf-8")
