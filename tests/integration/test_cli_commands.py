"""The commands against a real runtime: one life from `serve` to `stop`, and what a wrong input gets on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import DIGEST, House, eventually

PROJECT = Path(__file__).resolve().parents[2]
NOTE = """# Boat house

The roof of the boat house leaks above the canoes. Lena asked two roofers for a price. Karl must order the slates by
3 March. The lower offer is 1,900 euros.
"""

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def hearth(house: House, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments), "--home", str(house.paths.root)],
        cwd=PROJECT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def follow_next(house: House, arrive: Callable[[], object]) -> tuple[int, str]:
    """Follows the run that something leads to; it happens once `follow` is known to listen."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "runs", "follow", "--home", str(house.paths.root)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    shown = process.stdout.readline()
    assert "waiting for the next run" in shown
    arrive()
    rest, _ = process.communicate(timeout=200)
    return process.returncode, shown + rest


@pytest.fixture
def served(house: House) -> Iterator[subprocess.Popen[str]]:
    """`hearth serve` in the foreground, as a service manager runs it."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "app",
            "serve",
            "--home",
            str(house.paths.root),
            "--key-file",
            str(house.key_file),
        ],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: hearth(house, "status").returncode == 0, what="the runtime's start")
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_document_from_its_arrival_to_its_result(house: House, served: subprocess.Popen[str]) -> None:
    assert json.loads(hearth(house, "status", "--json").stdout)["pid"] == served.pid
    chosen = hearth(house, "agents", "folders", DIGEST, house.inbox, "--json")
    assert json.loads(chosen.stdout)["folders"] == [str(house.inbox)]
    assert json.loads(chosen.stdout)["paused"] is False
    code, followed = follow_next(house, lambda: house.drop("roof.md", NOTE))
    assert code == 0, followed
    assert "roof.md: succeeded" in followed
    [run] = json.loads(hearth(house, "runs", "list", "--json").stdout)
    shown = hearth(house, "runs", "show", run["id"]).stdout
    assert "category: " in shown
    assert f"{run['tokens']:,}" in shown
    assert hearth(house, "runs", "follow", run["id"], "--json").returncode == 0
    cancelled = hearth(house, "runs", "cancel", run["id"])
    assert (cancelled.returncode, cancelled.stderr.count("\n")) == (1, 1)


def test_a_file_that_can_not_be_read_fails_its_run_with_a_reason(
    house: House, served: subprocess.Popen[str]
) -> None:
    hearth(house, "agents", "folders", DIGEST, house.inbox)
    code, followed = follow_next(house, lambda: house.drop("empty.txt", ""))
    assert code == 1, followed
    [run] = json.loads(hearth(house, "runs", "list", "--json").stdout)
    assert run["reason"]
    assert run["reason"] in followed


def test_questions_are_answered_as_text_and_under_a_schema(
    house: House, served: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert hearth(house, "ask", "-", stdin="Say hello.").stdout.strip()
    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
                "required": ["colour"],
                "additionalProperties": False,
            }
        )
    )
    answer = json.loads(hearth(house, "ask", "--schema", schema, "Which colour has grass?").stdout)
    assert answer["colour"] in ("red", "green")
    assert house.client.runs() == []


def test_wrong_input_gets_one_sentence_and_the_right_exit_code(
    house: House, served: subprocess.Popen[str], tmp_path: Path
) -> None:
    file = tmp_path / "file.md"
    file.write_text(f"---\nname: X\nkind: digest\ntrigers: []\n---\nhello {DIGEST}\n")
    for code, arguments in (
        (2, ("agents", "folders", DIGEST, tmp_path / "missing")),
        (2, ("agents", "folders", DIGEST, file)),
        (2, ("agents", "folders", DIGEST, house.paths.root)),
        (2, ("agents", "folders", DIGEST, house.paths.root.parent)),
        (2, ("agents", "add", file)),
        (2, ("agents", "add", tmp_path)),
        (2, ("agents", "run", DIGEST, tmp_path / "missing.txt")),
        (1, ("agents", "show", "nobody")),
        (1, ("agents", "pause", "nobody")),
        (1, ("runs", "show", 77)),
        (1, ("runs", "follow", 77)),
        (1, ("runs", "cancel", 77)),
        (1, ("serve", "--key-file", house.key_file)),
    ):
        ended = hearth(house, *arguments)
        assert ended.returncode == code, (arguments, ended)
        assert ended.stdout == ""
        assert ended.stderr.count("\n") == 1, (arguments, ended.stderr)
        assert ended.stderr.endswith((".\n", "?\n"))


def test_an_agent_is_added_once_and_removed_once(
    house: House, served: subprocess.Popen[str], tmp_path: Path
) -> None:
    file = tmp_path / "file.md"
    file.write_text(
        "---\nname: X\ndescription: d\nkind: digest\n"
        f"triggers: [{{on: file_changed, folders: [{house.inbox}], patterns: ['*.md']}}]\n"
        f"capabilities: {{read: [{house.inbox}]}}\n---\nhello\n"
    )
    added = hearth(house, "agents", "add", file, "--yes")
    assert added.returncode == 0, added.stderr
    again = hearth(house, "agents", "add", file, "--yes")
    assert again.returncode == 1
    assert "--replace" in again.stderr
    assert hearth(house, "agents", "add", file, "--yes", "--replace").returncode == 0
    assert hearth(house, "agents", "remove", "X").returncode == 2
    assert hearth(house, "agents", "remove", "X", "--yes").returncode == 0
    gone = hearth(house, "agents", "remove", "X", "--yes", "--json")
    assert (gone.returncode, json.loads(gone.stdout)["error"]["code"]) == (1, "not_found")


def test_a_model_is_unloaded_by_hand_and_comes_back_by_itself(
    house: House, served: subprocess.Popen[str]
) -> None:
    assert hearth(house, "ask", "Say yes.").returncode == 0
    first, *_ = json.loads(hearth(house, "models", "list", "--json").stdout)
    assert first["loaded"]
    assert first["memory_bytes"] > 50_000_000

    unloaded = hearth(house, "models", "unload", first["id"])
    assert (unloaded.returncode, "takes no memory now" in unloaded.stdout) == (0, True)
    assert "not loaded" in hearth(house, "models", "list").stdout

    assert hearth(house, "ask", "Say yes.").returncode == 0
    unknown = hearth(house, "models", "unload", "nothing")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)


def test_limits_of_all_agents_are_shown_set_and_lifted(house: House, served: subprocess.Popen[str]) -> None:
    assert "tokens_per_day   no limit" in hearth(house, "limits").stdout
    changed = hearth(house, "limits", "tokens_per_day=200000", "keep_days=90")
    assert "200,000 tokens a day" in changed.stdout
    assert "90 days of history" in changed.stdout
    assert json.loads(hearth(house, "limits", "keep_days=none", "--json").stdout)["keep_days"] is None
    for wrong in ("keep=1", "keep_days", "runs_per_hour=3.5", "tokens_per_day=-1", "keep_mb=1"):
        refused = hearth(house, "limits", wrong)
        assert (refused.returncode, refused.stderr.count("\n"), refused.stdout) == (2, 1, ""), wrong


def test_a_command_right_after_serve_waits_for_its_start(house: House) -> None:
    command = [sys.executable, "-m", "app", "serve", "--home", str(house.paths.root)]
    with subprocess.Popen([*command, "--key-file", str(house.key_file)], cwd=PROJECT) as process:
        try:
            eventually(house.paths.lock.exists, what="the lock")
            assert hearth(house, "status").returncode == 0
        finally:
            process.terminate()


def test_stop_ends_serve_with_exit_code_0(house: House, served: subprocess.Popen[str]) -> None:
    stopped = hearth(house, "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert served.wait(timeout=10) == 0
    assert hearth(house, "status").returncode == 3


def test_after_a_kill_the_home_is_free_and_the_socket_says_nothing(
    house: House, served: subprocess.Popen[str]
) -> None:
    os.kill(served.pid, signal.SIGKILL)
    served.wait()
    assert house.paths.socket.exists()
    assert hearth(house, "status").returncode == 3
    house.start()
    assert hearth(house, "status").returncode == 0
