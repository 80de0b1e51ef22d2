"""A client that is quicker than the start of the runtime waits for it, and for nothing else."""

from __future__ import annotations

import fcntl
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.home import HomeLock
from agents.paths import HomePaths
from app.client import NotAnswering, NotRunning, RuntimeClient
from app.holding import is_held
from app.launch import LaunchOptions, runtime_command
from app.starting import StillStarting, first_status, is_launched
from tests.app.cli.scripted import ScriptedRuntime


class FakeTime:
    """A clock that only sleeping moves; `then` happens at the first sleep."""

    def __init__(self, then: object = None) -> None:
        self.now = 0.0
        self._then = then

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        then, self._then = self._then, None
        if callable(then):
            then()


@contextmanager
def held(paths: HomePaths) -> Iterator[None]:
    """The lock as another process would hold it."""
    paths.root.mkdir(exist_ok=True)
    with paths.lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def paths(short_dir: Path) -> HomePaths:
    return HomePaths(short_dir / "home")


def ask(paths: HomePaths, time: FakeTime) -> int:
    with RuntimeClient(paths) as client:
        return first_status(client, sleep=time.sleep, monotonic=time.monotonic).pid


def test_a_runtime_that_holds_the_home_is_waited_for_until_it_answers(paths: HomePaths) -> None:
    runtime = ScriptedRuntime(paths.root)
    time = FakeTime(then=runtime.start)
    try:
        with held(paths):
            assert ask(paths, time) == runtime.status.pid
    finally:
        runtime.stop()
    assert 0 < time.now < 1


def test_the_user_is_told_when_an_answer_takes_long(paths: HomePaths) -> None:
    runtime, told = ScriptedRuntime(paths.root), []
    paths.root.mkdir()
    with (
        socket.socket(socket.AF_UNIX) as frozen,
        RuntimeClient(paths, answer_timeout_s=0.2) as client,
    ):
        frozen.bind(str(paths.socket))
        frozen.listen()
        with pytest.raises(NotAnswering):
            first_status(client, silence_s=0.05, tell=told.append)
    assert told == ["Hearth does not answer yet; waiting for up to 0.2 s more."]
    paths.socket.unlink()
    runtime.start()
    try:
        with RuntimeClient(paths) as client:
            first_status(client, tell=told.append)
    finally:
        runtime.stop()
    assert len(told) == 1


def test_a_home_that_nobody_holds_is_not_waited_for(paths: HomePaths) -> None:
    time = FakeTime()
    for _ in range(2):
        with pytest.raises(NotRunning):
            ask(paths, time)
        paths.root.mkdir(exist_ok=True)
        paths.lock.touch()  # a killed runtime leaves the file, and no lock
    assert time.now == 0


def test_a_holder_that_ends_without_an_answer_ends_the_wait(paths: HomePaths) -> None:
    with held(paths):
        pass
    file = paths.lock.open("rb")
    fcntl.flock(file, fcntl.LOCK_EX)
    time = FakeTime(then=file.close)
    with pytest.raises(NotRunning):
        ask(paths, time)
    assert time.now < 1


def test_a_holder_that_never_answers_is_told_after_a_while(paths: HomePaths) -> None:
    time = FakeTime()
    with held(paths), pytest.raises(StillStarting, match="still starting or ending after 15 s") as caught:
        ask(paths, time)
    assert caught.value.exit_code == 3
    assert 15 <= time.now < 16


def test_a_runtime_that_still_loads_its_libraries_is_seen_by_its_process(
    paths: HomePaths, short_dir: Path
) -> None:
    (short_dir / "agents.py").write_text("print(flush=True); input()")
    assert not is_launched(paths)
    with subprocess.Popen(
        runtime_command(paths.root, LaunchOptions()),
        cwd=short_dir,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_launched(paths)
        assert not is_launched(HomePaths(short_dir / "other"))
        process.communicate("\n")
    assert not is_launched(paths)


def test_looking_at_the_lock_leaves_it_to_a_runtime(paths: HomePaths) -> None:
    assert not is_held(paths)
    with HomeLock(paths):
        assert is_held(paths)
        assert is_held(paths)
    assert not is_held(paths)
    with HomeLock(paths):
        assert is_held(paths)
