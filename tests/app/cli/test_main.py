"""The command line as a whole: help, homes, exit codes, and what it never does."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from app.cli import main as cli_main
from app.cli import status as status_module
from app.cli.main import hearth as root
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime

PROJECT = Path(__file__).resolve().parents[3]


def commands(
    group: click.Group, name: str = "hearth", parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(group, info_name=name, parent=parent)
    for child in group.list_commands(context):
        command = group.get_command(context, child)
        assert command is not None
        full_name = f"{name} {child}"
        if isinstance(command, click.Group):
            yield from commands(command, full_name, context)
        else:
            yield full_name, command, click.Context(command, info_name=child, parent=context)


ALL = list(commands(root))


@pytest.mark.parametrize(("name", "command", "context"), ALL, ids=[name for name, _, _ in ALL])
def test_each_command_and_option_has_help(name: str, command: click.Command, context: click.Context) -> None:
    assert command.help
    for option in command.get_params(context):
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.name}"


@pytest.mark.parametrize("name", [name for name, _, _ in ALL])
def test_each_command_is_in_the_readme(name: str) -> None:
    assert name in (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "command", "context"), ALL, ids=[name for name, _, _ in ALL])
def test_each_command_takes_a_home_and_json(
    name: str, command: click.Command, context: click.Context
) -> None:
    options = {text for option in command.get_params(context) for text in option.opts}
    assert "--home" in options
    assert ("--json" in options) == (name != "hearth serve")


def test_the_home_is_accepted_before_and_after_the_command(hearth: Hearth, short_dir: Path) -> None:
    other = short_dir / "other"
    runtime = ScriptedRuntime(other)
    runtime.start()
    try:
        for arguments in (
            ("--home", other, "status"),
            ("status", "--home", other),
            ("agents", "--home", other, "list"),
            ("--home", short_dir / "wrong", "agents", "list", "--home", other),
        ):
            assert hearth(*arguments).code == 0, arguments
    finally:
        runtime.stop()


@pytest.mark.usefixtures("fake")
def test_json_is_accepted_before_and_after_the_command(hearth: Hearth) -> None:
    assert hearth("--json", "agents", "list").out == "[]\n"
    assert hearth("agents", "--json", "list").out == "[]\n"
    assert hearth("agents", "list", "--json").out == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["status", "--nonsense"], "No such option"),
        (["runs", "show"], "Missing argument"),
        (["runs", "show", "seven"], "'seven' is not a run's number"),
        (["runs", "show", "0"], "'0' is not a run's number"),
        (["runs", "list", "--status", "odd"], "'odd' is not one of"),
        (["stop", "--timeout", "-1"], "-1.0 is not in the range"),
        (["--home", "", "status"], "name a directory"),
        (["agents", "folders", "Document digest"], "Missing argument 'DIR...'"),
        (["serve", "--key-file", "k", "--passphrase"], "See `hearth serve --help`."),
        (["serve", "nonsense"], "See `hearth serve --help`."),
        (["serve", "--nonsense"], "See `hearth serve --help`."),
        (["runs", "follow", str(2**63)], "is not a run's number"),
        (["runs", "list", "--before", "-1"], "is not a run's number"),
        (["--json", "serve"], "no JSON output. See `hearth serve --help`."),
        (["--json"], "no JSON output"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    hearth: Hearth, arguments: list[str], expected: str
) -> None:
    ended = hearth(*arguments)
    assert ended.code == 2
    assert expected in ended.sentence()
    assert (ended.out == "") == ("--json" not in arguments)


def test_a_home_that_is_a_file_is_wrong_usage(hearth: Hearth, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    ended = hearth("status", "--home", file)
    assert ended.code == 2
    assert "is a file" in ended.sentence()


def test_a_home_whose_socket_path_is_too_long_is_wrong_usage(hearth: Hearth, tmp_path: Path) -> None:
    ended = hearth("status", "--home", tmp_path / ("x" * 120))
    assert ended.code == 2
    assert "too long for a socket" in ended.sentence()


ASKING = [
    ["status"],
    ["stop"],
    ["ask", "hello"],
    ["agents", "list"],
    ["agents", "pause", "a"],
    ["agents", "run", "a"],
    ["runs", "list"],
    ["runs", "show", "1"],
    ["runs", "follow"],
    ["runs", "cancel", "1"],
]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_without_a_runtime_a_command_ends_with_3(hearth: Hearth, home: Path, arguments: list[str]) -> None:
    ended = hearth(*arguments)
    assert ended.code == 3
    assert f"Hearth is not running for {home};" in ended.sentence()
    assert not home.exists()


def test_a_socket_that_a_killed_runtime_left_behind_is_not_a_runtime(hearth: Hearth, home: Path) -> None:
    home.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "hearth.sock"))
    ended = hearth("status")
    assert ended.code == 3
    assert "is not running" in ended.sentence()


def test_the_sentence_names_a_home_that_is_not_the_default_one(hearth: Hearth, short_dir: Path) -> None:
    other = short_dir / "my home"
    assert f"`hearth serve --home '{other}'`" in hearth("status", "--home", other).sentence()


def test_a_runtime_of_another_version_is_one_sentence(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.status = fake.status.model_copy(update={"api_version": 99})
    ended = hearth("agents", "list")
    assert ended.code == 1
    assert "another version" in ended.sentence()
    assert "contract 99, here 1" in ended.sentence()


def test_an_answer_that_is_no_json_is_one_sentence(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.overrides["/v1/agents"] = b"<html>"
    ended = hearth("agents", "list")
    assert ended.code == 1
    assert "does not understand" in ended.sentence()


def test_without_a_display_and_a_command_it_shows_help_and_says_what_works(hearth: Hearth) -> None:
    ended = hearth()
    assert ended.code == 2
    assert "Usage: hearth" in ended.out
    assert "There is no screen to show a window on" in ended.sentence()


def test_with_a_display_and_no_command_it_opens_the_desktop(
    hearth: Hearth, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def run(path: Path, *, background: bool = False) -> int:
        opened.append((path, background))
        return 5

    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setitem(sys.modules, "app.desktop.main", SimpleNamespace(run=run))
    assert hearth("--background").code == 5
    assert opened == [(home, True)]


def test_a_desktop_that_can_not_load_is_one_sentence(hearth: Hearth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setitem(sys.modules, "app.desktop.main", None)
    ended = hearth()
    assert ended.code == 1
    assert "`hearth doctor` says what is missing" in ended.sentence()


def test_ctrl_c_ends_with_130_and_says_nothing(hearth: Hearth, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.client.RuntimeClient.status", interrupted)
    ended = hearth("status")
    assert (ended.code, ended.out, ended.err.strip()) == (130, "", "")


def test_a_bug_is_one_sentence_and_a_report_without_private_text(
    hearth: Hearth, fake: ScriptedRuntime, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> str:
        raise ValueError("the secret name of a file")

    monkeypatch.setattr(status_module, "describe_status", broken)
    ended = hearth("status")
    assert ended.code == 1
    found = re.search(r"Internal error \(ValueError\).* is in (\S+)\.$", ended.sentence())
    assert found is not None
    report = Path(found[1])
    assert report.parent == home / "logs"
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text(encoding="utf-8")
    assert "secret" not in text
    assert "ValueError" in text
    assert "in broken" in text


def in_a_process(
    *arguments: object, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def test_the_command_line_loads_no_heavy_library() -> None:
    program = (
        "import sys; import app.__main__, app.client, app.launch; from app.cli.main import _COMMANDS; import importlib;"
        "[importlib.import_module(each.partition(':')[0]) for each in _COMMANDS.values()];"
        "import app.cli.follow, app.cli.demo.show, app.cli.demo.stage, app.cli.demo.report;"
        "heavy = {'PySide6', 'llama_cpp', 'sqlcipher3', 'apscheduler', 'fastapi', 'numpy', 'keyring', 'watchdog'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert in_a_process("-c", program).stdout == "[]\n"


def test_opening_the_desktop_loads_no_http_client() -> None:
    program = (
        "import sys; from app.cli.main import main; main(['--version']);"
        "print([each for each in ('httpx2', 'pydantic', 'PySide6') if each in sys.modules])"
    )
    assert in_a_process("-c", program).stdout.splitlines()[-1] == "[]"


def test_the_module_runs_as_a_program_with_the_right_exit_code(short_dir: Path) -> None:
    ended = in_a_process("-m", "app", "status", "--home", short_dir / "none")
    assert ended.returncode == 3
    assert ended.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_it_without_a_word(fake: ScriptedRuntime) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        ended = subprocess.run(
            [sys.executable, "-m", "app", "status", "--home", str(fake.paths.root)],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("group", [[], ["agents"], ["runs"], ["bench"]])
def test_no_sentence_of_the_help_is_cut(hearth: Hearth, group: list[str]) -> None:
    assert "..." not in hearth(*group, "--help").out.partition("Commands:")[2]


def test_every_command_is_listed_in_the_help(hearth: Hearth) -> None:
    ended = hearth("--help")
    assert ended.code == 0
    for name in cli_main._COMMANDS:
        assert re.search(rf"^  {name} ", ended.out, re.MULTILINE)


def test_serve_offers_every_option_of_the_runtime() -> None:
    known = set(re.findall(r"--[a-z-]+", in_a_process("-m", "agents", "--help").stdout))
    offered = set(re.findall(r"--[a-z-]+", in_a_process("-m", "app", "serve", "--help").stdout))
    assert known == offered
