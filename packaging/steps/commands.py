"""Runs the set-up's commands: output to a log, a clean environment, and nothing left running when interrupted."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
    """Runs one command after another, each with its whole output appended to one log file."""

    def __init__(self, log: Path) -> None:
        self.log = log

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
        with self.log.open("a", encoding="utf-8", errors="replace") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=clean_environment(extra_env),
                cwd=cwd,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            assert process.stdout is not None
            with process.stdout:
                try:
                    for line in process.stdout:
                        log.write(line)
                        if on_line is not None:
                            on_line(line)
                    return process.wait() == 0
                finally:
                    _end(process)

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log, shortened for a terminal."""
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line[:160]}" for line in text)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    for stop, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, stop)
            process.wait(timeout=patience_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return
