"""Tells that the computer is about to sleep, that it has woken, and that its clock was set.

Runs in: the runtime's event loop. Where the system signals sleep, the signal comes first; the clocks are compared every few seconds
in any case, so a sleep that nobody announced is found too, and one that was announced is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from agents.surroundings.clocks import ClockReading, Clocks, compare

LOOK_S = 5.0
PARK_LIMIT_S = 2.0  # logind lets a delay last 5 s by default
SLEEP_LIMIT_S = (
    60.0  # awake time after "about to sleep": by then the computer has not gone to sleep after all
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How the time between two looks was different from what was expected."""

    slept_s: float  # 0 when a sleep was announced and did not come


class SleepSignals(Protocol):
    """A system's own word about sleep. While `about_to_sleep` runs the computer is kept awake, as far as it allows."""

    async def start(
        self, about_to_sleep: Callable[[], Awaitable[None]], awake: Callable[[], Awaitable[None]]
    ) -> None: ...

    async def stop(self) -> None: ...


class SleepWatch(Protocol):
    """What the composition root starts and stops."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class SleepWatcher:
    """`on_sleep` gets two seconds. `on_wake` may take its time; a new sleep cancels it. Each is told once for each sleep."""

    def __init__(
        self,
        *,
        signals: SleepSignals | None,
        clocks: Clocks,
        on_sleep: Callable[[], Awaitable[None]],
        on_wake: Callable[[Gap], Awaitable[None]],
        on_clock_set: Callable[[float], None],
        look_s: float = LOOK_S,
        park_limit_s: float = PARK_LIMIT_S,
    ) -> None:
        self._signals = signals
        self._clocks = clocks
        self._on_sleep = on_sleep
        self._on_wake = on_wake
        self._on_clock_set = on_clock_set
        self._look_s = look_s
        self._park_limit_s = park_limit_s
        self._base: ClockReading = clocks()
        self._announced_at_s: float | None = (
            None  # on the awake clock: a sleep that has not come or not ended yet
        )
        self._looking: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._base = self._clocks()
        self._looking = asyncio.create_task(self._keep_looking(), name="sleep-look")
        if self._signals is not None:
            await self._signals.start(self._about_to_sleep, self._told_awake)

    async def stop(self) -> None:
        if self._signals is not None:
            await self._signals.stop()
        for task in (self._looking, self._waking):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    def look(self) -> None:
        """Compares the clocks with the last look."""
        now = self._clocks()
        change = compare(self._base, now)
        self._base = now
        if change.wall_set_s:
            log.info("the clock was set by %+.0f s", change.wall_set_s)
            self._on_clock_set(change.wall_set_s)
        announced_at_s = self._announced_at_s
        if change.slept_s:
            self._woke(change.slept_s)
        elif announced_at_s is not None and now.awake_s - announced_at_s > SLEEP_LIMIT_S:
            log.warning("the computer was about to sleep and did not")
            self._woke(0.0)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            try:
                self.look()
            except Exception:
                log.exception("a look at the clocks failed")  # the next one may not

    async def _about_to_sleep(self) -> None:
        self._announced_at_s = self._clocks().awake_s
        await self._end_waking()
        log.info("the computer is about to sleep")
        try:
            async with asyncio.timeout(self._park_limit_s):
                await self._on_sleep()
        except TimeoutError:
            log.warning("not everything was parked within %.0f s", self._park_limit_s)
        except Exception:
            log.exception("parking for sleep failed")

    async def _told_awake(self) -> None:
        """The signal may come before or after the look that finds the gap: whoever is first tells."""
        self.look()
        if self._announced_at_s is not None:
            self._woke(0.0)

    def _woke(self, slept_s: float) -> None:
        self._announced_at_s = None
        log.info("the computer is awake after %.0f s of sleep", slept_s)
        if self._waking is not None:
            self._waking.cancel()
        self._waking = asyncio.create_task(self._wake(Gap(slept_s=slept_s)), name="wake")

    async def _wake(self, gap: Gap) -> None:
        try:
            await self._on_wake(gap)
        except Exception:
            log.exception("not everything was done after the sleep")

    async def _end_waking(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._waking])
            self._waking = None
