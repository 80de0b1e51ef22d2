"""A granted command runs alone, is bounded in everything, and leaves nothing behind."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from agents.gates.command import check_command
from agents.gates.finding import Finding
from agents.gates.programs import program_problem
from agents.triggers import CommandGate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs are those of a POSIX system")


def run(*argv: str, timeout_s: float = 10.0, granted: tuple[str, ...] | None = None) -> Finding:
    return check_command(
        CommandGate(argv=argv, timeout_s=timeout_s),
        granted=[argv if granted is None else granted],
        cancelled=threading.Event(),
    )


def program(path: Path, text: str, *, mode: int = 0o755) -> str:
    """A program of the user's own; that it is a script is its own affair."""
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(("name", "is_open"), [("true", True), ("false", False)])
def test_the_exit_code_decides(name: str, is_open: bool) -> None:
    finding = run(shutil.which(name) or "")
    assert (finding.is_open, finding.detail) == (
        is_open,
        f"{name} ended with exit code {0 if is_open else 1}",
    )


def test_arguments_reach_the_program_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a file; with $(odd) 'name'"
    test = shutil.which("test") or ""
    assert not run(test, "-f", str(path)).is_open
    path.touch()
    assert run(test, "-f", str(path)).is_open


@pytest.mark.parametrize("granted", [("/usr/bin/true",), ("/usr/bin/true", "a", "b"), ("/usr/bin/true", "b")])
def test_only_the_very_words_that_were_granted_are_run(granted: tuple[str, ...]) -> None:
    finding = run("/usr/bin/true", "a", granted=granted)
    assert (finding.is_open, finding.detail) == (False, "the agent may not run this command")


def test_it_sees_nothing_of_hearth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_SECRET", "canary")
    report = tmp_path / "report"
    names = "sorted(n for n in os.environ if n != 'LC_CTYPE')"
    look = program(
        tmp_path / "look",
        "import os, sys\n"
        f"facts = [{names}, os.listdir('.'), sys.stdin.read(), os.listdir('/proc/self/fd'), os.getsid(0) == os.getpid()]\n"
        f"open({str(report)!r}, 'w').write(repr(facts))\nprint('x' * 1_000_000)",
    )
    assert run(look).is_open
    environ, files, stdin, descriptors, own_session = eval(report.read_text())  # noqa: S307
    assert environ == ["HOME", "LANG", "PATH"]
    assert (files, stdin, own_session) == ([], "", True)
    assert len(descriptors) == 4  # the three of every program, and the one that lists them


def test_what_takes_too_long_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    busy = program(
        tmp_path / "busy",
        "import os, subprocess, sys, time\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]\n"
        f"open({str(pids)!r}, 'w').write(' '.join(str(p) for p in [os.getpid(), *(c.pid for c in children)]))\n"
        "time.sleep(60)",
    )
    began_s = time.monotonic()
    finding = run(busy, timeout_s=1.5)
    assert (finding.is_open, finding.detail) == (False, "busy did not end within 1.5 s")
    assert time.monotonic() - began_s < 10
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 3
    assert gone(started)


def test_what_it_leaves_behind_when_it_ends_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    leave = program(
        tmp_path / "leave",
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(str(child.pid))",
    )
    assert run(leave).is_open
    assert gone([int(pids.read_text())])


def gone(pids: list[int]) -> bool:
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.02)
    return False


def test_it_ends_when_nobody_waits_any_more() -> None:
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    argv = (shutil.which("sleep") or "", "60")
    began_s = time.monotonic()
    check_command(CommandGate(argv=argv, timeout_s=60), granted=[argv], cancelled=cancelled)
    assert time.monotonic() - began_s < 10


@pytest.mark.skipif(sys.platform != "linux", reason="limits can be set from outside on Linux only")
def test_memory_and_files_are_bounded(tmp_path: Path) -> None:
    report = tmp_path / "report"
    greedy = program(
        tmp_path / "greedy",
        "import resource, time\ntime.sleep(0.3)\n"
        "names = ['RLIMIT_AS', 'RLIMIT_CPU', 'RLIMIT_FSIZE', 'RLIMIT_NOFILE', 'RLIMIT_CORE']\n"
        f"open({str(report)!r}, 'w').write(repr([resource.getrlimit(getattr(resource, n))[1] for n in names]))\n"
        "bytearray(3 << 30)",
    )
    finding = run(greedy)
    assert (finding.is_open, finding.detail) == (False, "greedy ended with exit code 1")
    assert eval(report.read_text()) == [2 << 30, 11, 64 << 20, 256, 0]  # noqa: S307


def test_a_program_that_is_ended_by_a_signal_keeps_the_gate_closed(tmp_path: Path) -> None:
    crash = program(tmp_path / "crash", "import os\nos.abort()")
    assert run(crash).detail == "crash was ended by signal 6"


@pytest.mark.parametrize(
    "name",
    ["sh", "bash", "dash", "zsh", "python", "python3", "python3.12", "Python3.11.exe", "perl5.36", "ruby3.1",
     "node", "lua5.4", "php8.2", "awk", "gawk", "sed", "env", "time", "busybox", "xargs", "sudo", "doas", "su", "nice",
     "nohup", "timeout", "setsid", "find", "ssh", "make", "tclsh8.6", "ld-linux-x86-64.so.2", "pwsh", "cmd.exe",
     "linux64", "npx", "tar", "fakeroot", "ssh-agent", "xvfb-run"],
)  # fmt: skip
def test_what_runs_anything_can_not_be_granted_under_its_own_or_another_name(
    tmp_path: Path, name: str
) -> None:
    real = program(tmp_path / name, "")
    alias = tmp_path / "harmless"
    alias.symlink_to(real)
    words = "can run any other program, so it can't be granted"
    assert words in (program_problem(real) or "")
    if name != "busybox":
        assert words in (program_problem(str(alias)) or "")
    assert run(real, "-c", "exit 0").is_open is False


def test_one_tool_of_many_in_one_program_can_be_granted_but_not_its_shell(tmp_path: Path) -> None:
    busybox = program(tmp_path / "busybox", "")
    for name in ("test", "sh"):
        (tmp_path / name).symlink_to(busybox)
    assert program_problem(str(tmp_path / "test")) is None
    assert program_problem(str(tmp_path / "sh")) is not None


def test_what_is_no_program_or_not_only_ours_is_not_run(tmp_path: Path) -> None:
    plain = program(tmp_path / "plain", "", mode=0o644)
    open_to_all = program(tmp_path / "open", "", mode=0o757)
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    problems = {
        "true": "true is not a full path",
        "bin/true": "bin/true is not a full path",
        plain: f"{plain} is no program",
        str(tmp_path): f"{tmp_path} is no program",
        str(tmp_path / "missing"): f"{tmp_path / 'missing'} can't be run (No such file or directory)",
        open_to_all: f"others can change {open_to_all}, so it is not run",
    }
    assert {path: program_problem(path) for path in problems} == problems
    assert "can't be run" in (program_problem(str(circle)) or "")


def test_a_file_that_the_system_can_not_execute_keeps_the_gate_closed(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(b"\0\1\2\3")
    path.chmod(0o755)
    assert run(str(path)).detail == "tool can't be run (Exec format error)"


def test_the_folder_that_it_ran_in_is_gone(tmp_path: Path) -> None:
    where = tmp_path / "where"
    look = program(
        tmp_path / "look",
        f"import os\nopen('left', 'w').close()\nopen({str(where)!r}, 'w').write(os.getcwd())",
    )
    assert run(look).is_open
    assert not Path(where.read_text()).exists()
