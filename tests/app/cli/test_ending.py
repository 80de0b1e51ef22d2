"""How a command line ends: with output that can't be written, and with errors that a program reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli import status as status_module
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime

PROJECT = Path(__file__).resolve().parents[3]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")


def in_a_shell(redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'exec "$@" {redirection}',
            "sh",
            sys.executable,
            "-m",
            "app",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=60,
        check=False,
    )


def error_in(out: str) -> dict[str, Any]:
    [line] = out.splitlines()
    error: dict[str, Any] = json.loads(line)["error"]
    return error


# --- output that can't be written


@needs_full
@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["--help"]], ids=" ".join)
def test_a_full_device_is_one_sentence_and_no_bug(fake: ScriptedRuntime, arguments: list[str]) -> None:
    ended = in_a_shell(">/dev/full", *arguments)
    assert ended.returncode == 1
    assert ended.stderr == "The output can't be written: no space left on the device.\n"
    assert not fake.paths.logs.exists()


def test_a_closed_output_is_one_sentence_and_no_bug(fake: ScriptedRuntime) -> None:
    ended = in_a_shell(">&-", "status")
    assert ended.returncode == 1
    assert ended.stderr == "The output can't be written: it is closed.\n"
    assert not fake.paths.logs.exists()


def test_a_command_that_says_nothing_needs_no_output(fake: ScriptedRuntime) -> None:
    ended = in_a_shell(">&-", "status", "--nonsense")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("redirection", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_leave_the_exit_code(home: Path, redirection: str) -> None:
    ended = in_a_shell(redirection, "status")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")


@needs_full
def test_a_complaint_that_can_not_be_written_leaves_the_exit_code(home: Path) -> None:
    assert in_a_shell("2>/dev/full", "status").returncode == 3


def test_an_error_of_the_programs_own_files_is_still_a_bug(
    hearth: Hearth, fake: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status_module, "describe_status", broken)
    assert "Internal error (OSError)" in hearth("status").sentence()


def test_the_streams_are_the_callers_again(hearth: Hearth) -> None:
    before = sys.stdout, sys.stderr
    hearth("--version")
    assert (sys.stdout, sys.stderr) == before


# --- errors for programs


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["status", "--json"], "not_running", 3),
        (["--json", "runs", "list"], "not_running", 3),
        (["ask", "--json", ""], "usage", 2),
        (["status", "--nonsense", "--json"], "usage", 2),
        (["runs", "show", "--json", "abc"], "usage", 2),
        (["agents", "--json"], "usage", 2),
        (["demo", "--json", "--home", "/"], "usage", 2),
        (["nonsense", "--json"], "usage", 2),
    ],
)
def test_json_errors_are_one_object_besides_the_sentence(
    hearth: Hearth, arguments: list[str], code: str, exit_code: int
) -> None:
    ended = hearth(*arguments)
    error = error_in(ended.out)
    assert (ended.code, error["code"]) == (exit_code, code)
    assert error["message"] == ended.sentence()


def test_the_runtimes_code_and_details_are_passed_on(
    hearth: Hearth, fake: ScriptedRuntime, tmp_path: Path
) -> None:
    fake.refusals["GET /v1/agents/Nobody"] = (404, "not_found", "There is no agent named Nobody.")
    assert error_in(hearth("agents", "show", "Nobody", "--json").out)["code"] == "not_found"
    file = tmp_path / "agent.md"
    file.write_text("---\nname: Contracts\n---\nRead them.\n")
    error = error_in(hearth("agents", "add", file, "--json").out)
    assert error["code"] == "needs_consent"
    assert error["details"] == {"asks": ["read files in /home/me/Contracts"]}


def test_a_bug_is_an_object_too(
    hearth: Hearth, fake: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ValueError("the secret name of a file")

    monkeypatch.setattr(status_module, "emit", broken)
    error = error_in(hearth("status", "--json").out)
    assert error["code"] == "internal"
    assert "secret" not in error["message"]


def test_without_json_stdout_stays_empty(hearth: Hearth) -> None:
    assert hearth("status").out == ""
    assert hearth("ask", "--", "--json").out == ""
