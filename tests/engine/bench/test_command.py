"""The benchmark's command line: what it takes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.bench import command
from engine.bench.core import BenchFailed, Goal, Row, quick_scale
from engine.bench.rows.catalogue import ROWS
from engine.builtin import built_in_model


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "llama-server"
    path.touch()
    return path


def test_everything_is_measured_unless_rows_are_named(program: Path) -> None:
    wish = command.parse([])
    assert (wish.rows, wish.llama_server, wish.llama_class) == (tuple(ROWS), None, False)
    assert wish.model == built_in_model()
    wish = command.parse(["--row=tool_call", "--row=decode_1", f"--peer=llama-server={program}"])
    assert wish.rows == ("decode_1", "tool_call")
    assert wish.llama_server == program


def test_a_quick_look_can_be_repeated_as_often_as_wanted() -> None:
    assert command.parse(["--quick", "--repeat=7"]).scale == quick_scale(7)
    assert command.parse(["--quick"]).scale == quick_scale()
    assert command.parse(["--repeat=7"]).scale.repeat == 7


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--row=nix"], "There is no row 'nix'; the rows are decode_1, "),
        (["--peer=vllm"], "--peer takes llama-server=PATH or llama-cpp-python, and not 'vllm'."),
        (["--peer=llama-server"], "--peer takes "),
        (["--peer=llama-cpp-python=/x"], "--peer takes "),
        (["--peer=llama-server=/nowhere"], "There is no program at /nowhere; `make bench-peer` builds"),
        (["--repeat=0"], "--repeat takes a number from 1 to 100."),
        (["--repeat=many"], "Argument --repeat: invalid int value: 'many'."),
        (["--model=/nowhere.gguf"], "There is no model file at /nowhere.gguf; choose"),
        (["--frobnicate"], "Unrecognized arguments: --frobnicate."),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(sentence)
    assert err.endswith("See `hearth bench engine --help`.\n")


def test_a_program_finds_wrong_usage_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--json", "--row=nix"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def measured(monkeypatch: pytest.MonkeyPatch, outcome: list[Row] | BaseException) -> None:
    """The measuring itself is left out; it is tested with real processes elsewhere."""

    async def run(wish: Any) -> list[Row]:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(command, "run", run)


def row(*, goal: Goal | None) -> Row:
    return Row(name="decode_1", meaning="writing", unit="tokens/s", ours=(90.0,), goal=goal)


@pytest.mark.parametrize(
    ("goal", "exit_code", "said"),
    [
        (None, 0, ""),
        (Goal(max_ours=100.0), 0, ""),
        (Goal(max_ours=10.0), 1, "1 of 1 goals missed: decode_1."),
    ],
)
def test_the_exit_code_says_whether_a_goal_was_missed(
    goal: Goal | None,
    exit_code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured(monkeypatch, [row(goal=goal)])
    assert command.main(["--json"]) == exit_code
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"][0]["name"] == "decode_1"
    assert [line for line in err.splitlines() if "busy" not in line] == ([said] if said else [])


def test_a_measurement_that_fails_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, BenchFailed("llama-server can't be asked (ReadError)."))
    assert command.main(["--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == {
        "code": "failed",
        "message": "llama-server can't be asked (ReadError).",
        "details": {},
    }
    assert "llama-server can't be asked (ReadError)." in err.splitlines()


def test_ctrl_c_is_told_and_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, KeyboardInterrupt())
    assert command.main([]) == 130
    assert "Stopped; nothing is left running." in capsys.readouterr().err
