"""An alarm clock: calls back every so often, or once after a while. APScheduler's timers and nothing else of it.

Runs in: the runtime's event loop. Nothing is stored (its memory store forgets with the process): what is due is the ledger's business.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_SCHEDULER_SHUTDOWN
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agents.clock import Clock

Cancel = Callable[[], None]

GUARD_S = 20.0  # how often the wall clock is compared with the monotonic one
STEP_S = 2.0  # a difference from which on the wall clock was set, or the machine slept


class Alarm:
    """Times are kept by the wall clock, so a guard rings everything when that clock was set: early is harmless, never is not."""

    def __init__(self, *, clock: Clock, guard_s: float = GUARD_S) -> None:
        self._clock = clock
        self._guard_s = guard_s
        self._guard: asyncio.TimerHandle | None = None
        self._offset_s = 0.0
        self._scheduler = AsyncIOScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": AsyncIOExecutor()},
            # Late is better than never, and once is enough: by default a job 1 s late is dropped.
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
            timezone=UTC,
        )

    def start(self) -> None:
        """Call it once, inside the running loop."""
        self._scheduler.start()
        self._offset_s = self._wall_minus_monotonic_s()
        self._arm_guard()

    async def stop(self) -> None:
        """No callback comes after this returns."""
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None
        if self._scheduler.running:
            self._scheduler.remove_all_jobs()
            ended = asyncio.Event()
            self._scheduler.add_listener(lambda _: ended.set(), EVENT_SCHEDULER_SHUTDOWN)
            self._scheduler.shutdown(wait=False)  # which happens in a later turn of the loop
            await ended.wait()

    def every(self, seconds: float, callback: Callable[[], None]) -> Cancel:
        """Calls back in `seconds` and again after each further `seconds`; missed rings become one."""
        return self._add(callback, trigger="interval", seconds=seconds)

    def after(self, seconds: float, callback: Callable[[], None]) -> Cancel:
        """Calls back once in `seconds`."""
        return self._add(callback, trigger="date", run_date=datetime.now(UTC) + timedelta(seconds=seconds))

    def _add(self, callback: Callable[[], None], **when: Any) -> Cancel:
        async def ring() -> None:
            # A coroutine, since that runs on the loop; APScheduler would give a function to a thread.
            callback()

        job = self._scheduler.add_job(ring, **when)

        def cancel() -> None:
            with contextlib.suppress(JobLookupError):  # a single ring is gone once it has rung
                job.remove()

        return cancel

    def _arm_guard(self) -> None:
        self._guard = asyncio.get_running_loop().call_later(self._guard_s, self._check_clock)

    def _check_clock(self) -> None:
        offset_s = self._wall_minus_monotonic_s()
        if abs(offset_s - self._offset_s) > STEP_S:
            for job in self._scheduler.get_jobs():
                job.modify(next_run_time=datetime.now(UTC))
        self._offset_s = offset_s
        self._arm_guard()

    def _wall_minus_monotonic_s(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
