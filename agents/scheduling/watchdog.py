"""Watches the scheduler and the event loop from outside of both, and has the scheduler begin anew when it stands still.

Runs in: a thread of its own in the runtime process, "hearth-watchdog". It asks the loop, and never waits for it for long.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from agents.clock import Clock
from agents.errors import StoreProblem
from agents.scheduling.heartbeat import Heartbeat, Vigil

STUCK_S = 60.0
LOOK_S = 10.0
MOST_PATIENCE = 30  # times STUCK_S, between restarts that do not help
STACK_DEPTH = 12

log = logging.getLogger(__name__)


class IncidentKind(StrEnum):
    """What the watchdog found."""

    LOOP_STUCK = "loop_stuck"
    SCHEDULER_STUCK = "scheduler_stuck"
    DUE_UNCLAIMED = "due_unclaimed"


class Watched(Protocol):
    """The scheduler, as its watchdog sees it."""

    @property
    def heartbeat(self) -> Heartbeat: ...

    @property
    def trouble(self) -> str | None: ...

    async def restart(self) -> None: ...


OnIncident = Callable[[IncidentKind, str], Awaitable[None]]


class Watchdog:
    """`start` it in the loop that it watches; `stop` before that loop ends."""

    def __init__(
        self,
        *,
        scheduler: Watched,
        count_overdue: Callable[[datetime], Coroutine[Any, Any, int]],
        clock: Clock,
        on_incident: OnIncident,
        stuck_s: float = STUCK_S,
        look_s: float = LOOK_S,
    ) -> None:
        """`on_incident` runs in the loop, and is told what happened in one sentence for the user."""
        self._scheduler = scheduler
        self._count_overdue = count_overdue
        self._clock = clock
        self._on_incident = on_incident
        self._stuck_s = stuck_s
        self._look_s = look_s
        self._patience = 1
        self._answers = Heartbeat()  # of the loop
        self._loop_vigil = Vigil(longest_look_s=2 * look_s)
        self._scheduler_vigil = Vigil(longest_look_s=2 * look_s)
        self._overdue_s = 0.0
        self._loop_was_stuck = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._reports: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, name="hearth-watchdog", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """No restart and no report begins after this returns."""
        self._ending.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        for report in list(self._reports):
            report.cancel()
            await asyncio.wait([report])

    # --- in the thread ---------------------------------------------------------------------------

    def _watch(self) -> None:
        before_s = self._clock.monotonic()
        while not self._ending.wait(self._look_s):
            now_s = self._clock.monotonic()
            try:
                self._look(now_s - before_s)
            except Exception:
                if self._loop is None or self._loop.is_closed():
                    return
                log.exception("the watchdog could not look")
            before_s = now_s

    def _look(self, elapsed_s: float) -> None:
        loop_still_s = self._loop_vigil.look(self._answers.count, elapsed_s)
        self._in_loop(self._answers.beat)
        if loop_still_s > self._stuck_s:
            if not self._loop_was_stuck:
                self._loop_was_stuck = True
                log.error("the event loop has stood still for %.0f s: %s", loop_still_s, stacks())
            return  # nothing else can be asked
        if self._loop_was_stuck and loop_still_s == 0.0:
            self._loop_was_stuck = False
            self._report(
                IncidentKind.LOOP_STUCK,
                f"Hearth stood still for more than {self._stuck_s:.0f} seconds and goes on; its log says where.",
            )
        if loop_still_s > 0.0:
            return  # first it has to answer
        still_s = self._scheduler_vigil.look(self._scheduler.heartbeat.count, elapsed_s)
        if still_s > self._stuck_s * self._patience:
            self._restart(
                IncidentKind.SCHEDULER_STUCK,
                f"The schedule stood still for {still_s:.0f} seconds; it was started again.",
            )
        elif self._are_overdue(elapsed_s, still_s):
            self._restart(
                IncidentKind.DUE_UNCLAIMED,
                "Due times were waiting and nobody took them; the schedule was started again.",
            )

    def _are_overdue(self, elapsed_s: float, still_s: float) -> bool:
        """Whether rows that are long due have been there all the time for as long as nobody can need to claim them."""
        n_overdue = self._ask_overdue()
        if n_overdue == 0 and still_s == 0.0:
            self._patience = 1
        # A ledger that can't be written has its own notice.
        if not n_overdue or self._scheduler.trouble is not None:
            self._overdue_s = 0.0
            return False
        self._overdue_s += min(elapsed_s, 2 * self._look_s)
        return self._overdue_s > self._stuck_s * self._patience

    def _ask_overdue(self) -> int | None:
        assert self._loop is not None
        before = self._clock.now() - timedelta(seconds=self._stuck_s)
        asked = asyncio.run_coroutine_threadsafe(self._count_overdue(before), self._loop)
        try:
            return asked.result(self._look_s / 2)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            asked.cancel()
        except StoreProblem as problem:
            log.warning("the ledger could not be asked for overdue rows: %s", problem.code)
        return None

    def _restart(self, kind: IncidentKind, sentence: str) -> None:
        log.error("restarting the scheduler (%s): %s", kind.value, stacks())
        self._scheduler_vigil.reset()
        self._overdue_s = 0.0
        self._patience = min(self._patience * 2, MOST_PATIENCE)
        self._report(kind, sentence, restart=True)

    def _report(self, kind: IncidentKind, sentence: str, *, restart: bool = False) -> None:
        self._in_loop(lambda: self._spawn(self._tell(kind, sentence, restart=restart)))

    def _in_loop(self, callback: Callable[[], object]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(callback)

    # --- in the loop -----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._ending.is_set():
            work.close()
            return
        report = asyncio.get_running_loop().create_task(work)
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _tell(self, kind: IncidentKind, sentence: str, *, restart: bool) -> None:
        try:
            if restart:
                await self._scheduler.restart()
            await self._on_incident(kind, sentence)
        except Exception:
            log.exception("an incident could not be recorded")


def stacks() -> str:
    """Where every thread is, without any value of its variables."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "; ".join(
        f"{names.get(ident, ident)} at "
        + " < ".join(
            f"{Path(place.filename).name}:{place.lineno} {place.name}"
            for place in reversed(traceback.extract_stack(frame)[-STACK_DEPTH:])
        )
        for ident, frame in sys._current_frames().items()
    )
