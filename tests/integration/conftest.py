"""A real runtime in a process of its own, on a throw-away home with the built-in model."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from agents import contract
from agents.paths import HomePaths
from app.client import RuntimeClient
from app.launch import LaunchOptions, end_runtime, start_runtime

DIGEST = "Document digest"

T = TypeVar("T")


def eventually(look: Callable[[], T | None], *, timeout_s: float = 60.0, what: str = "it") -> T:
    """The first answer of `look` that is not None or False; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen within {timeout_s:.0f} s")


class House:
    """One home that runtimes may come and go in."""

    def __init__(self, root: Path) -> None:
        self.paths = HomePaths(root / "home")
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        self.key_file = root / "key"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = RuntimeClient(self.paths)

    def start(self, *, model: Path | None = None) -> contract.Status:
        self.process = start_runtime(
            self.paths.root, LaunchOptions(key_file=self.key_file, model=model), timeout_s=60
        )
        return self.client.status()

    def kill(self) -> None:
        """kill -9: the runtime has no chance to tidy up."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        assert self.process is not None
        code = end_runtime(self.process)
        self.process = None
        return code

    def watch(self) -> None:
        self.client.set_folders(DIGEST, contract.FoldersChange(folders=[str(self.inbox)]))

    def drop(self, name: str, text: str) -> Path:
        """A document arrives as programs deliver it: written beside, then renamed into place."""
        beside = self.inbox.parent / f"{name}.part"
        beside.write_text(text)
        path = self.inbox / name
        beside.rename(path)
        return path

    def ended(self, count: int = 1, *, timeout_s: float = 90.0) -> list[contract.RunInfo]:
        """The runs, once at least `count` of them exist and all have ended."""

        def look() -> list[contract.RunInfo] | None:
            runs = self.client.runs(limit=500)
            over = all(run.status in ("succeeded", "failed", "cancelled") for run in runs)
            return runs if len(runs) >= count and over else None

        return eventually(look, timeout_s=timeout_s, what=f"the end of {count} runs")


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="h-") as folder:  # a socket's path has to be short
        made = House(Path(folder))
        try:
            yield made
        finally:
            made.client.close()
            if made.process is not None:
                made.stop()
