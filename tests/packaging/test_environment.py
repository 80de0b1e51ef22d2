"""What survives an interruption: the record of steps, half-installed packages, and commands that are cut off."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from steps.commands import Runner, clean_environment
from steps.environment import Environment, State

PACKAGING = Path(__file__).resolve().parent.parent.parent / "packaging"


def test_a_step_is_remembered(tmp_path: Path):
    State(tmp_path / "state.json").record("tools", "key")
    assert State(tmp_path / "state.json").read() == {"tools": "key"}


def test_a_step_that_begins_again_is_no_longer_done(tmp_path: Path):
    state = State(tmp_path / "state.json")
    state.record("tools", "a")
    state.record("engine", "b")
    state.forget("engine")
    assert state.read() == {"tools": "a"}


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_a_damaged_record_means_that_nothing_is_done(tmp_path: Path, text: str):
    (tmp_path / "state.json").write_text(text)
    assert State(tmp_path / "state.json").read() == {}


def package(root: Path, name: str, *, complete: bool) -> Path:
    info = root / "lib" / "python3.11" / "site-packages" / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\n")
    if complete:
        (info / "RECORD").write_text("")
    return info


def test_a_package_that_was_cut_off_is_installed_again(tmp_path: Path):
    half, whole = package(tmp_path, "half", complete=False), package(tmp_path, "whole", complete=True)
    dropped = Environment(tmp_path, Runner(tmp_path / "log")).drop_half_installed()
    assert dropped == ["half-1.0.dist-info"]
    assert not half.exists()
    assert whole.exists()


def test_no_environment_has_no_version(tmp_path: Path):
    assert Environment(tmp_path / "none", Runner(tmp_path / "log")).version() is None


def test_a_broken_environment_has_no_version(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    assert Environment(tmp_path, Runner(tmp_path / "log")).version() is None


def test_the_output_of_a_command_goes_to_the_log_and_to_whoever_listens(tmp_path: Path):
    lines: list[str] = []
    runner = Runner(tmp_path / "log")
    assert runner.run([sys.executable, "-c", "print('one'); print('two')"], on_line=lines.append)
    assert lines == ["one\n", "two\n"]
    assert "one\ntwo\n" in (tmp_path / "log").read_text()


def test_a_command_that_fails_is_told_apart(tmp_path: Path):
    runner = Runner(tmp_path / "log")
    assert not runner.run([sys.executable, "-c", "import sys; sys.exit('no such luck')"])
    assert "no such luck" in runner.tail()


def test_an_interrupted_command_ends_with_its_children(tmp_path: Path):
    started: list[int] = []

    def interrupt(line: str) -> None:
        started.append(int(line))
        raise KeyboardInterrupt

    script = "import subprocess, time; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        Runner(tmp_path / "log").run([sys.executable, "-c", script], on_line=interrupt)
    deadline = time.monotonic() + 5
    while _is_alive(started[0]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(started[0])


def test_a_killed_set_up_keeps_the_next_one_waiting_until_its_command_has_ended(tmp_path: Path):
    lock, log, ended = tmp_path / "lock", tmp_path / "log", tmp_path / "ended"
    inner = f"import time, pathlib; print('started'); time.sleep(1); pathlib.Path({str(ended)!r}).touch()"
    script = (
        "import os, signal, sys, pathlib; from steps.commands import Runner\n"
        f"runner = Runner(pathlib.Path({str(log)!r}))\n"
        f"with runner.locked(pathlib.Path({str(lock)!r}), 'busy'):\n"
        f"    runner.run([sys.executable, '-u', '-c', {inner!r}], on_line=lambda _: os.kill(os.getpid(), signal.SIGKILL))"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=PACKAGING, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not ended.exists()
    with Runner(log).locked(lock, "busy"):
        assert ended.exists()


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_settings_that_send_pip_elsewhere_do_not_reach_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "kept")
    env = clean_environment({"CC": "cc"})
    assert not {"PIP_TARGET", "PYTHONPATH"} & env.keys()
    assert env["HTTPS_PROXY"] == "kept"
    assert env["CC"] == "cc"
