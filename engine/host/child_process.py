"""One engine child as the supervisor holds it: spawn, send, receive, and notice when it dies or falls silent.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.child.guard import PARENT_PID_NAME
from engine.host.bounded_log import BoundedLog
from engine.messages import (
    HEADER_BYTES,
    Alive,
    FromChild,
    ProtocolError,
    ToChild,
    body_size,
    frame_to_child,
    is_awaited,
    parse_from_child,
)
from engine.pace import os_priority

_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONPATH",
)
# How often an OpenMP thread looks before it sleeps at a barrier. GNU's default (300,000) is milliseconds: two threads
# that share a core then hold each other up at each of some 500 barriers a token, which gave 2 tokens/s beside a spinning
# program and steps of up to 6 s; with 500 it was 28 to 65 tokens/s, with 20,000 it is 20 to 40 until the governor takes
# one thread. A quiet machine gave one answer 172 to 182 tokens/s with 500, 184 to 196 with 20,000 and more, and 72 where
# threads never spin (OMP_WAIT_POLICY=passive).
_SPINS_AT_A_BARRIER = "20000"
_EXIT_GRACE_S = 2.0
_STOPPED_S = 3.0  # so long a child may be frozen by SIGSTOP
_TICKS = 8  # the watch looks so often within its limit


class ChildDied(Exception):
    """The child is gone; str() is a fragment such as 'killed by SIGSEGV'."""


@dataclass(frozen=True, kw_only=True)
class ChildLimits:
    """How long the child may be silent before it counts as hung; it gives a sign of life each half second."""

    hello_s: float = 30.0  # importing the native libraries from a cold disk
    load_s: float = 60.0  # between two signs of progress
    work_s: float = 30.0  # between two batches


def clean_environment(environment: Mapping[str, str], extra: Mapping[str, str] | None) -> dict[str, str]:
    """What the child may see: a few settings of the system, never a key. extra is added as it is."""
    passed = {name: environment[name] for name in _PASSED_ON if name in environment}
    passed.update({name: value for name, value in environment.items() if name.startswith("LC_")})
    passed["GOMP_SPINCOUNT"] = _SPINS_AT_A_BARRIER
    passed["PYTHONSAFEPATH"] = "1"  # the working directory is no place to import from
    passed[PARENT_PID_NAME] = str(os.getpid())
    passed.update(extra or {})
    return passed


class EngineChild:
    """A running child. Made by spawn(); after died is set it is only good for burying."""

    def __init__(self, process: subprocess.Process, log: BoundedLog, on_death: Callable[[], None]) -> None:
        self._process = process
        self._log = log
        self._on_death = on_death
        self._inbox: asyncio.Queue[FromChild | ChildDied] = asyncio.Queue()
        self._listener: Callable[[FromChild], None] | None = None
        self._patience_s: float | None = None
        self._expected = asyncio.Event()
        self._n_frames = 0
        self._kill_reason: str | None = None
        self._dismissed = False
        self.death: ChildDied | None = None
        self._readers = [
            asyncio.create_task(self._read(), name="engine-read"),
            asyncio.create_task(self._drain_log(), name="engine-log"),
        ]
        self._watcher = asyncio.create_task(self._watch(), name="engine-watch")

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: BoundedLog,
        on_death: Callable[[], None],
    ) -> EngineChild:
        """Start the process. Raises ChildDied when there is nothing to start."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd=Path(Path.cwd().anchor),
            )
        except OSError as error:
            raise ChildDied(f"can't be started: {error.strerror}") from None
        return cls(process, log, on_death)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def post(self, message: ToChild) -> None:
        """Queue a message in order, without waiting."""
        stdin = self._process.stdin
        if self.death is None and stdin is not None and not stdin.is_closing():
            if is_awaited(message):
                os_priority.lift(self.pid)  # else the very thread that is to read this may wait for a core
            stdin.write(frame_to_child(message))

    async def receive(self) -> FromChild:
        """The next message; only before listen(). Raises ChildDied, again and again."""
        item = await self._inbox.get()
        if isinstance(item, ChildDied):
            self._inbox.put_nowait(item)
            raise item
        return item

    def listen(self, listener: Callable[[FromChild], None]) -> None:
        """From now on messages are handed over as they come, with nothing awaited in between.

        One that was read meanwhile is handed over here. Raises ChildDied when it is too late.
        """
        if self.death is not None:
            raise self.death
        self._listener = listener
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            assert not isinstance(item, ChildDied)
            listener(item)

    def expect(self, silence_s: float | None) -> None:
        """From now on a child that says nothing for so long is killed; None: it may be silent."""
        if silence_s != self._patience_s:
            self._patience_s = silence_s
            if silence_s is not None:
                self._expected.set()

    @contextmanager
    def expecting(self, silence_s: float) -> Iterator[None]:
        """expect(), while inside."""
        self.expect(silence_s)
        try:
            yield
        finally:
            self.expect(None)

    def kill(self, reason: str) -> None:
        """End it now; the reason becomes its death."""
        if self._process.returncode is None:
            self._kill_reason = self._kill_reason or reason
            with suppress(ProcessLookupError):
                self._process.kill()

    async def close(self, timeout_s: float) -> None:
        """End it in order: the closed pipe tells it to go; kill it when it doesn't in time. This is no death."""
        self._dismissed = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self.kill("did not end in time")
            await self._process.wait()
        await self._settle()

    async def bury(self) -> None:
        """Clear up after a death."""
        self.kill("broke the protocol")
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        await self._settle()

    async def _settle(self) -> None:
        """Let reader and log reach the end of their pipes; nothing of the child stays behind."""
        self._watcher.cancel()
        _, pending = await asyncio.wait(self._readers, timeout=1.0)
        for task in pending:
            task.cancel()
        await asyncio.gather(*self._readers, self._watcher, return_exceptions=True)
        self._log.close()

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        reason: str | None = None
        try:
            while True:
                size = body_size(await stdout.readexactly(HEADER_BYTES))
                self._take(parse_from_child(await stdout.readexactly(size)))
        except asyncio.IncompleteReadError:
            pass
        except ProtocolError as error:
            reason = f"broke the protocol ({error})"
            self.kill(reason)
        try:
            await asyncio.wait_for(self._process.wait(), _EXIT_GRACE_S)
        except TimeoutError:
            self.kill("closed its pipe and went on")
            await self._process.wait()
        self._die(ChildDied(self._kill_reason or reason or _how_it_ended(self._process.returncode)))

    def _take(self, message: FromChild) -> None:
        self._n_frames += 1
        if (
            isinstance(message, Alive) or self._kill_reason is not None
        ):  # what it says while it is killed is void
            return
        if self._listener is not None:
            self._listener(message)
        else:
            self._inbox.put_nowait(message)

    def _die(self, death: ChildDied) -> None:
        self.death = death
        self._inbox.put_nowait(death)
        if not self._dismissed:
            self._on_death()

    async def _drain_log(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        while data := await stderr.read(65_536):
            self._log.write(data)

    async def _watch(self) -> None:
        """Kill a child that is silent while something is expected of it.

        Silence is counted in ticks of this loop, not by the clock: when the whole runtime was suspended or busy,
        the child gets its full time again.
        """
        seen, silent_s = self._n_frames, 0.0
        while self.death is None:
            await self._expected.wait()  # costs nothing while the child is idle
            limit_s = self._patience_s
            if limit_s is None:
                self._expected.clear()
                seen, silent_s = self._n_frames, 0.0
                continue
            tick_s = min(limit_s / _TICKS, 1.0)
            await asyncio.sleep(tick_s)
            if seen != self._n_frames or self._patience_s != limit_s:
                seen, silent_s = self._n_frames, 0.0
                continue
            silent_s += tick_s
            if silent_s >= min(limit_s, _STOPPED_S) and self._is_stopped():
                self.kill("was stopped by a signal")
                return
            if silent_s >= limit_s:
                self.kill(f"gave no sign of life for {limit_s:g} s")
                return

    def _is_stopped(self) -> bool:
        """Whether somebody froze the process, which is no slow disk and no long batch."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False


def _how_it_ended(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"ended with status {returncode}"
