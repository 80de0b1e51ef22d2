"""One process that the benchmark starts beside itself, with its output in a log file; it never outlives its end().

Runs in: the benchmark's process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from engine.bench.core import PeerUnavailable

END_TIMEOUT_S = 5.0


class Child:
    """A process group of its own: a Ctrl-C in the terminal reaches the benchmark alone, which then ends its children."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self._log = log

    @classmethod
    async def start(cls, command: Sequence[str], *, log: Path, talks: bool = False) -> Self:
        """Start a program; with `talks` its stdin and stdout are pipes. Raises PeerUnavailable."""
        with log.open("wb") as out:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=PIPE if talks else asyncio.subprocess.DEVNULL,
                    stdout=PIPE if talks else out,
                    stderr=out if talks else STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise PeerUnavailable(f"{command[0]} can't be started: {error.strerror}.") from error
        return cls(process, log)

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None

    def last_words(self) -> str:
        """The last line of its output, for a sentence."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return said[:160].rstrip(".")

    async def end(self, patience_s: float = END_TIMEOUT_S) -> None:
        """Ask it to end, then make it, and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended:
                return
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), patience_s)
