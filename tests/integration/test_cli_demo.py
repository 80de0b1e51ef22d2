"""`hearth demo` as a stranger runs it: the real runtime, the built-in model, three documents, one killed engine."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.documents import read_document
from app.cli.demo.stage import demo_documents

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The demo's temporary folder; afterwards nothing may be left of it, neither a file nor a process."""
    with tempfile.TemporaryDirectory(prefix="h-", dir="/tmp") as name:  # a socket's path has to be short
        folder = Path(name)
        yield folder
        assert list(folder.iterdir()) == []
        assert processes_of(folder) == []


def processes_of(folder: Path) -> list[str]:
    """Runtimes that serve a home below the folder, and engines, whose parent they are."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(folder) in command and process.pid != os.getpid():
            found.append(command)
    return found


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


@contextmanager
def hearing_ctrl_c() -> Iterator[None]:
    """A test run that was started with `nohup … &` ignores SIGINT, and hands that on; a handler becomes the default."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{4,}|\d+", text.lower()))


def test_three_documents_are_digested_and_the_engine_comes_back(temporary: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app", "demo", "--json"],
        cwd=PROJECT,
        env=environment(temporary),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    events: list[dict[str, Any]] = [json.loads(line) for line in ended.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert names.index("engine_killed") < names.index("engine_recovered") < len(names) - 1
    done = events[-1]
    assert done["event"] == "done"
    assert done["engine_restart_seen"]
    documents = demo_documents()
    assert [run["file"] for run in done["runs"]] == [document.name for document in documents]
    for run, document in zip(done["runs"], documents, strict=True):
        assert run["status"] == "succeeded"
        assert run["tokens"] > 0
        assert run["tokens_per_s"] > 0
        assert run["title"]
        source = words(read_document(document, root=document.parent).text)
        told = words(run["summary"])
        assert told
        assert len(told & source) >= 0.8 * len(told), f"{document.name}: {run['summary']}"


def test_ctrl_c_in_the_middle_of_a_run_leaves_nothing(temporary: Path) -> None:
    master, terminal = pty.openpty()
    with hearing_ctrl_c():
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "demo"],
            cwd=PROJECT,
            env=environment(temporary),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
    os.close(terminal)
    shown = read_until(master, "Write the digest")
    process.send_signal(signal.SIGINT)
    shown += read_until(master, None)
    os.close(master)
    assert process.wait() == 130
    assert "Traceback" not in shown


def test_a_request_to_end_is_obeyed_while_the_runtime_starts(temporary: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "demo", "--json"],
        cwd=PROJECT,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "opened"
    time.sleep(0.3)
    process.terminate()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (128 + signal.SIGTERM, "")


def read_until(terminal: int, wanted: str | None) -> str:
    """What the terminal shows up to a text, or to the end."""
    shown = ""
    while wanted is None or wanted not in shown:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # the last process that had it open has gone
            break
        if not data:
            break
        shown += data.decode(errors="replace")
    return shown
