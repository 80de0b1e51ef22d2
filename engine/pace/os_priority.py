"""Where batches run: people's work at normal OS priority, background work behind every other program.

Runs in: engine child, engine thread; `lift` from any thread, also of the runtime.

Linux gives priority to threads (SCHED_IDLE) and, where the kernel groups tasks by session (sched_autogroup), shares the
processor between the groups first: an idle thread then weighs as much as a busy one against programs of other sessions
(measured: they ran 68 % slower beside it, 0 % with the group lowered too). So background batches run on a thread of
their own that gave up its priority, for good, since an ordinary user can't take it back; the threads that llama.cpp's
OpenMP makes for it inherit that. Besides, the child leads a session of its own and lowers that while nobody waits.
Windows and macOS lower the whole process instead, which their users may undo at will.
"""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

LOWER_AFTER_S = 0.3  # background work alone for so long lowers the process
ASSERT_EVERY_S = 1.0  # the runtime may have lifted it meanwhile
_AUTOGROUP_LOWEST, _AUTOGROUP_NORMAL = 19, 0
_PRIO_DARWIN_PROCESS, _PRIO_DARWIN_BG = 4, 0x1000

T = TypeVar("T")


class ProcessPriority(Protocol):
    """The priority of a whole process against all others; reversible without privileges."""

    def lower(self) -> None:
        """Behind every other program."""
        ...

    def lift(self) -> None:
        """Back to normal."""
        ...


class SessionPriority:
    """Linux: the autogroup of a process that leads its session, so that nobody else is in it."""

    def __init__(self, pid: int) -> None:
        self._group = Path(f"/proc/{pid}/autogroup")  # reads "/autogroup-123 nice 0"

    def lower(self) -> None:
        """Behind every other session."""
        self._set(_AUTOGROUP_LOWEST)

    def lift(self) -> None:
        """Back to normal."""
        self._set(_AUTOGROUP_NORMAL)

    def _set(self, nice: int) -> None:
        # no such file: the kernel has no groups. Refused: the kernel takes ten changes a second from ordinary users;
        # both sides ask again with the next batch
        with suppress(OSError, ValueError, IndexError):
            if int(self._group.read_text().split()[-1]) != nice:
                self._group.write_text(str(nice))


class WindowsPriority:
    """Windows: the priority class, which is the only thing that reaches threads made by libraries."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def lower(self) -> None:
        """Only when the processor is idle."""
        self._set("IDLE_PRIORITY_CLASS")

    def lift(self) -> None:
        """Back to normal."""
        self._set("NORMAL_PRIORITY_CLASS")

    def _set(self, name: str) -> None:
        import psutil

        with suppress(psutil.Error, OSError):
            psutil.Process(self._pid).nice(getattr(psutil, name))


class DarwinPriority:
    """macOS: the background state of a process (as `taskpolicy -b` sets it), which covers all its threads."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._libc = ctypes.CDLL(None, use_errno=True)

    def lower(self) -> None:
        """Only what others leave, on the efficient cores."""
        self._libc.setpriority(_PRIO_DARWIN_PROCESS, self._pid, _PRIO_DARWIN_BG)

    def lift(self) -> None:
        """Back to normal."""
        self._libc.setpriority(_PRIO_DARWIN_PROCESS, self._pid, 0)


def priority_of(pid: int) -> ProcessPriority | None:
    """How to lower and lift a process, or None where that would reach others or can't be had."""
    if sys.platform == "win32":
        return WindowsPriority(pid)
    if sys.platform == "darwin":
        return DarwinPriority(pid)
    try:
        leads = os.getsid(pid) == pid
    except OSError:
        return None
    return SessionPriority(pid) if leads else None


def lead_session() -> None:
    """Give this process a session, and so a group of its own; a key for the terminal's programs is not for it either."""
    if hasattr(os, "setsid"):
        with suppress(OSError):  # it leads one already
            os.setsid()


def lift(pid: int) -> None:
    """Bring an engine child back to normal from the runtime, just before it is asked something that people wait for.

    The child lifts itself too, but its own threads get hold of a taken processor late (median 2 against 21 ms).
    """
    priority = priority_of(pid)
    if priority is not None:
        priority.lift()


class Lanes:
    """Runs calls at the priority of their work: the caller's thread is the normal lane, one more the background lane."""

    def __init__(
        self,
        process: ProcessPriority | None,
        *,
        has_background_thread: bool = hasattr(os, "SCHED_IDLE"),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._now = now
        self._lane = _IdleLane() if has_background_thread else None
        self._background_since: float | None = None
        self._asserted_at: float | None = None

    def run(self, call: Callable[[], T], background: bool) -> T:
        """Run the call and wait for it; what it raises is raised here."""
        if not background:
            self._background_since = None
            if self._asserted_at is not None:
                self.lift()
                self._asserted_at = None
            return call()
        self._lower_in_time()
        return call() if self._lane is None else self._lane.run(call)

    def lift(self) -> None:
        """What a background call holds is wanted now: speed it up. From any thread, also during run()."""
        if self._process is not None:
            self._process.lift()
        if self._lane is not None:
            self._lane.lift()

    def close(self) -> None:
        """End the background lane and leave the process at normal priority."""
        if self._process is not None:
            self._process.lift()
        if self._lane is not None:
            self._lane.close()

    def _lower_in_time(self) -> None:
        now = self._now()
        if self._background_since is None:
            self._background_since = now
        if self._process is None or now - self._background_since < LOWER_AFTER_S:
            return
        if self._asserted_at is None or now - self._asserted_at >= ASSERT_EVERY_S:
            self._process.lower()
            self._asserted_at = now


class _IdleLane:
    """A thread under SCHED_IDLE, started with its first call; llama.cpp's workers for it inherit the class."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._lifted: list[int] = []
        self._may_lift = True

    def run(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="engine-idle-lane", daemon=True)
            self._thread.start()
        self._settle()
        outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                outcome.put((None, error))

        self._calls.put(work)
        value, error = outcome.get()
        if error is not None:
            try:
                raise error
            finally:
                del error  # the traceback would hold this frame, and the frame the error
        return value  # type: ignore[return-value]  # a call without an error gave its T

    def lift(self) -> None:
        """With privileges (root, RLIMIT_NICE), put the lane and its workers back to normal until the next call."""
        with self._lock:
            if not self._may_lift or self._thread is None or self._lifted:
                return
            for tid in _threads_under(os.SCHED_IDLE):
                try:
                    os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
                except PermissionError:
                    self._may_lift = False
                    return
                except ProcessLookupError:
                    continue
                self._lifted.append(tid)

    def close(self) -> None:
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _settle(self) -> None:
        with self._lock:
            for tid in self._lifted:
                _make_idle(tid)
            self._lifted.clear()

    def _serve(self) -> None:
        _make_idle(0)
        while (work := self._calls.get()) is not None:
            work()
            del work  # nothing of a finished request stays alive in an idle lane


def _make_idle(tid: int) -> None:
    with suppress(OSError):  # a wall around the process may forbid it: then at normal priority
        os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0))


def _threads_under(policy: int) -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(int(task.name)) == policy:
                found.append(int(task.name))
    return found
