"""Fixtures of the tests that need a screen and a session bus."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from tests.app.desktop.desk import home, runtime
from tests.desktop.fakedesk import PATIENCE_S, FakeDesk

__all__ = ["home", "runtime"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    has_screen = bool(os.environ.get("DISPLAY")) and bool(os.environ.get("DBUS_SESSION_BUS_ADDRESS"))
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.desktop)
            if not has_screen:
                item.add_marker(
                    pytest.mark.skip(reason="needs a screen and a session bus: tests/tools/with_screen.sh")
                )


class DrivenDesktop:
    """A desktop process of its own; what it says is kept in order."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        command = [sys.executable, str(HERE / "driven.py"), str(home), *arguments]
        variables = {
            **os.environ,
            "PYTHONPATH": str(HERE.parents[1]),
            "QT_QPA_PLATFORM": "xcb",
            **environment,
        }
        variables = {name: value for name, value in variables.items() if value}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )
        self._said: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._collect, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def wait_for(self, what: str, **details: Any) -> dict[str, Any]:
        """The next thing it says that is like this; what it said before is dropped."""
        passed = []
        while True:
            try:
                said = self._said.get(timeout=PATIENCE_S)
            except Empty:
                raise AssertionError(
                    f"waited for {what} {details}; it said {passed}, {self.errors}"
                ) from None
            if said["what"] == what and details.items() <= said.items():
                return said
            passed.append(said)

    def state(self) -> dict[str, Any]:
        self.tell("state")
        return self.wait_for("state")

    def texts(self) -> list[str]:
        self.tell("texts")
        return list(self.wait_for("texts")["texts"])

    def end(self) -> int:
        """Waits for its end and gives the exit code."""
        code = self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        return code

    def kill(self) -> None:
        """Ends it whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.end()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(json.loads(line))

    def _collect(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)


StartDesktop = Callable[..., DrivenDesktop]


@pytest.fixture
def start_desktop(home: Path) -> Iterator[StartDesktop]:
    started: list[DrivenDesktop] = []

    def start(*arguments: str, **environment: str) -> DrivenDesktop:
        started.append(DrivenDesktop(home, *arguments, **environment))
        return started[-1]

    yield start
    for desktop in started:
        desktop.kill()


@pytest.fixture
def desk() -> Iterator[FakeDesk]:
    """A desktop with a tray and notifications."""
    made = FakeDesk()
    made.start()
    yield made
    made.stop()
