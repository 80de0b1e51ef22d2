"""`hearth bench` becomes the benchmark's process; what the benchmark does is tested in its own room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.cli.conftest import Hearth


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of the process that this one turned into."""
    seen: list[str] = []

    def execv(program: str, command: list[str]) -> None:
        assert program == command[0]
        seen.extend(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    return seen


def test_every_option_reaches_the_benchmark(hearth: Hearth, became: list[str], tmp_path: Path) -> None:
    model = tmp_path / "-m.gguf"
    arguments = ("--peer", "llama-server=/x y/z", "--peer", "llama-cpp-python", "--row", "decode_1")
    ended = hearth("bench", "engine", *arguments, "--repeat", "3", "--quick", "--model", model, "--json")
    assert ended.code == 0
    assert became == [
        sys.executable, "-P", "-m", "engine.bench",
        "--peer=llama-server=/x y/z", "--peer=llama-cpp-python", "--row=decode_1",
        "--repeat=3", f"--model={model}", "--quick", "--json",
    ]  # fmt: skip


def test_nothing_is_measured_that_was_not_asked_for(hearth: Hearth, became: list[str]) -> None:
    hearth("bench", "engine")
    assert became == [sys.executable, "-P", "-m", "engine.bench"]


def test_a_number_out_of_range_is_wrong_usage(hearth: Hearth, became: list[str]) -> None:
    ended = hearth("bench", "engine", "--repeat", "0")
    assert (ended.code, became) == (2, [])
    assert "--repeat" in ended.sentence()


def test_the_exit_code_and_the_sentence_are_the_benchmark_s_own(home: Path) -> None:
    command = [sys.executable, "-m", "app", "bench", "engine", "--row", "no_such_row"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("There is no row 'no_such_row'; the rows are decode_1, ")
    assert len(done.stderr.splitlines()) == 1


def test_the_schedule_has_a_benchmark_of_its_own(hearth: Hearth, became: list[str]) -> None:
    hearth("bench", "scheduler", "--row", "idle_cpu", "--quick", "--json")
    assert became == [sys.executable, "-P", "-m", "agents.bench", "--row=idle_cpu", "--quick", "--json"]
