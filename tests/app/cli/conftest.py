"""Runs command lines in this process against a stand-in runtime on a real socket."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import main
from tests.app.cli.scripted import ScriptedRuntime


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    def sentence(self) -> str:
        """stderr, which must be one line and no traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].endswith((".", "?", "`.")), self.err
        return lines[0]


Hearth = Callable[..., Ended]


class _Stdin(io.TextIOWrapper):
    """A standard input that may claim to be a terminal."""

    def __init__(self, data: bytes, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def home(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default home of this test."""
    folder = short_dir / "home"
    monkeypatch.setenv("HEARTH_HOME", str(folder))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def hearth(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hearth:
    def run(*arguments: Any, stdin: bytes = b"", terminal: bool = False) -> Ended:
        monkeypatch.setattr(sys, "stdin", _Stdin(stdin, terminal=terminal))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ended(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def fake(home: Path) -> Iterator[ScriptedRuntime]:
    runtime = ScriptedRuntime(home)
    runtime.start()
    yield runtime
    runtime.stop()
