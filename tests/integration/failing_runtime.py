"""Runtimes that kill themselves, as kill -9 would, at a boundary of a run's work; with a scripted engine.

Usage: python -m tests.integration.failing_runtime HOME=BOUNDARY... One after another, each in a process of its own: the one that dies
at that boundary (counted from 1; 0 is never), and then one that goes on until no run is left. Each question to the model becomes a line
of a file in the home, and the boundaries that the last process met become another one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from agents.clock import SystemClock
from agents.core import RunStatus
from agents.credentials import KeyKind, ResolvedKey
from agents.home import HomeLock
from agents.paths import HomePaths
from agents.runtime import Runtime
from agents.storage import Store
from engine.core import Request
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec

KEY = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=False)
ASKED = "asked"
BOUNDARIES = "boundaries"


class Failpoint:
    """Counts boundaries, and ends the process at one of them."""

    def __init__(self, fatal: int) -> None:
        self._fatal = fatal
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


async def live(root: Path, fatal: int) -> None:
    paths = HomePaths(root)
    failpoint = Failpoint(fatal)

    def answer(request: Request) -> str:
        with (root / ASKED).open("a") as file:
            file.write(f"{request.messages[-1].content.splitlines()[0]}\n")
        return "Good morning to all of you."

    store = await Store.open(paths.database, KEY, clock=SystemClock())
    runtime = Runtime(
        paths=paths,
        store=store,
        key=KEY,
        clock=SystemClock(),
        default_model=ModelSpec(path=Path("/nowhere"), name="scripted"),
        make_engine=lambda _: ScriptedEngine(answer),
        failpoint=failpoint,
    )
    serving = asyncio.create_task(runtime.run())
    async with asyncio.timeout(30):
        while True:
            counts = await store.runs.counts()
            if not counts[RunStatus.PENDING] and not counts[RunStatus.RUNNING] and sum(counts.values()):
                break
            await asyncio.sleep(0.02)
    (root / BOUNDARIES).write_text("\n".join(failpoint.names))
    runtime.ask_to_stop()
    await serving


def in_a_process_of_its_own(root: Path, fatal: int) -> int:
    """Its exit code, as negative as the signal that ended it. A fork costs no imports; nothing has a thread yet."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with HomeLock(HomePaths(root)):
                asyncio.run(live(root, fatal))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    for argument in sys.argv[1:]:
        home, _, fatal = argument.rpartition("=")
        codes = [in_a_process_of_its_own(Path(home), int(fatal))] if int(fatal) else []
        codes.append(in_a_process_of_its_own(Path(home), 0))
        print(*codes, flush=True)


if __name__ == "__main__":
    main()
