"""Runs the set-up's commands: output to a log, a clean environment, and nothing left running when interrupted."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

POLL_S = 0.05

# Settings that would send an installation somewhere else than the environment it is meant for.
_MISLEADING = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_ROOT",
    "PIP_REQUIRE_HASHES",
)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would mislead pip, plus `extra`."""
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return {
        **kept,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHONUTF8": "1",
        **(extra or {}),
    }


class Runner:
    """Runs one command after another, each with its whole output appended to one log file.

    A command writes to the log itself and not through this process, and it inherits the locks that are held: should this
    process be killed, the command comes to its end undisturbed, and the next set-up waits for it instead of
    working in the same folder at the same time.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._locks: list[int] = []

    @contextmanager
    def locked(self, path: Path, busy: str) -> Iterator[None]:
        """Hold a lock on `path`; say `busy` if another process has it, and wait."""
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(busy, flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._locks.append(lock.fileno())
            try:
                yield
            finally:
                self._locks.remove(lock.fileno())

    def run(
        self,
        command: Sequence[str],
        *,
        extra_env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> bool:
        """Run `command` to its end; each output line also goes to `on_line`. Returns whether it succeeded.

        The command has a process group of its own, so that an interruption ends it with all its children.
        """
        with (
            self.log.open("a", encoding="utf-8") as log,
            self.log.open(encoding="utf-8", errors="replace") as reader,
        ):
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            reader.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(extra_env),
                cwd=cwd,
                start_new_session=True,
                pass_fds=self._locks,
            )
            try:
                for line in _lines_until_end(process, reader):
                    if on_line is not None:
                        on_line(line)
                return process.returncode == 0
            finally:
                _end(process)

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log, shortened for a terminal."""
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line[:160]}" for line in text)


def _lines_until_end(process: subprocess.Popen[bytes], reader: TextIO) -> Iterator[str]:
    """The lines that the process adds to the log, as they come."""
    unfinished = ""
    while True:
        ended = process.poll() is not None  # asked before reading, so that nothing written last is missed
        while part := reader.readline():
            unfinished += part
            if unfinished.endswith("\n"):
                yield unfinished
                unfinished = ""
        if ended:
            if unfinished:
                yield unfinished
            return
        time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    for stop, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, stop)
            process.wait(timeout=patience_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return
