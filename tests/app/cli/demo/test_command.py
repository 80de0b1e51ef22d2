"""`hearth demo` as a command, where it can't begin; where it can is tested with the real runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.cli.demo import stage
from app.launch import LaunchFailed
from tests.app.cli.conftest import Hearth


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> str:
    """A runtime that refuses to start; the value is its sentence."""
    sentence = "The disk is full; make room."

    @contextmanager
    def refused(_: stage.Stage) -> Iterator[None]:
        raise LaunchFailed(sentence, 1)
        yield

    monkeypatch.setattr(stage, "running_runtime", refused)
    return sentence


def test_a_runtime_that_does_not_start_fails_the_demo_with_its_sentence(
    hearth: Hearth, no_start: str
) -> None:
    ended = hearth("demo")
    assert (ended.code, ended.sentence()) == (1, no_start)
    assert "Hearth demo" in ended.out


def test_a_program_gets_its_last_line_also_then(hearth: Hearth, no_start: str) -> None:
    ended = hearth("demo", "--json")
    last = json.loads(ended.out.splitlines()[-1])
    assert (last["event"], last["ok"], last["problem"], last["runs"]) == ("done", False, no_start, [])
    assert ended.code == 1


@pytest.mark.usefixtures("no_start")
def test_nothing_is_left_of_a_demo_that_did_not_begin(hearth: Hearth, short_dir: Path) -> None:
    hearth("demo", "--home", short_dir / "d")
    assert list(short_dir.iterdir()) == []


def test_a_home_in_use_is_wrong_usage(hearth: Hearth, short_dir: Path) -> None:
    (short_dir / "d").mkdir()
    (short_dir / "d" / "hearth.db").touch()
    ended = hearth("demo", "--home", short_dir / "d")
    assert ended.code == 2
    assert "is not empty; the demo needs a home of its own" in ended.sentence()
    assert (short_dir / "d" / "hearth.db").exists()
