"""What the runtime does before the computer sleeps and after it has woken. Runs in: the runtime's event loop."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from agents.surroundings.sleep import Gap
from agents.surroundings.waking import (
    MAX_JITTER_S,
    SETTLE_LIMIT_S,
    Addresses,
    WakeStep,
    jitter,
    network_addresses,
    network_settles,
    take_steps,
)

ENGINE_LIMIT_S = 20.0
STEP_LIMIT_S = 10.0

log = logging.getLogger(__name__)


class Runs(Protocol):
    """What holds the runs in work."""

    async def park(self) -> None:
        """Gives them back at their next token and begins none until unpark."""
        ...

    def unpark(self) -> None: ...


class AroundSleep:
    """In order after a sleep: the engines answer, due times are looked at anew, folders are watched anew, whoever waits for a wake
    is told, the network rests; only then do runs begin again."""

    def __init__(
        self,
        *,
        runs: Runs,
        probe_engines: Callable[[], Awaitable[None]],
        after_gap: Callable[[str], Awaitable[None]],
        watch_anew: Callable[[], None],
        look_around: Callable[[], Awaitable[None]],
        announce_wake: Callable[[str], Awaitable[object]],
        now: Callable[[], datetime],
        addresses: Callable[[], Addresses] = network_addresses,
        settle_limit_s: float = SETTLE_LIMIT_S,
        jitter_s: float = MAX_JITTER_S,
    ) -> None:
        """`announce_wake` is told a mark that names this one waking."""
        self._runs = runs
        self._probe_engines = probe_engines
        self._after_gap = after_gap
        self._watch_anew = watch_anew
        self._look_around = look_around
        self._announce_wake = announce_wake
        self._now = now
        self._addresses = addresses
        self._settle_limit_s = settle_limit_s
        self._jitter_s = jitter_s
        self._before: Addresses | None = None  # before the sleep; None when it came unannounced
        self._owed: str | None = None  # the mark of a waking after which not everything was done yet

    async def before(self) -> None:
        """For SleepWatcher: the computer is about to sleep."""
        self._before = self._addresses()
        await self._runs.park()

    async def after(self, gap: Gap) -> None:
        """For SleepWatcher: it has woken, or the sleep was called off. What a new sleep interrupts is done after that one."""
        before, self._before = self._before, None
        if gap.slept_s > 0:
            self._owed = self._now().isoformat(timespec="seconds")
        mark = self._owed
        if mark is None:
            self._runs.unpark()
            return
        await take_steps(
            [
                WakeStep(name="the engine", do=self._probe_engines, limit_s=ENGINE_LIMIT_S),
                WakeStep(name="due times", do=lambda: self._after_gap("sleep"), limit_s=STEP_LIMIT_S),
                WakeStep(name="folders", do=self._folders, limit_s=STEP_LIMIT_S),
                WakeStep(name="surroundings", do=self._look_around, limit_s=STEP_LIMIT_S),
                WakeStep(name="triggers", do=lambda: self._announce_wake(mark), limit_s=STEP_LIMIT_S),
                WakeStep(
                    name="the network", do=lambda: self._network(before), limit_s=self._settle_limit_s + 1.0
                ),
                WakeStep(name="a pause", do=lambda: jitter(self._jitter_s), limit_s=self._jitter_s + 1.0),
            ]
        )
        self._owed = None
        self._runs.unpark()

    async def _folders(self) -> None:
        self._watch_anew()

    async def _network(self, before: Addresses | None) -> None:
        if before is None:  # nobody parked anything, and nobody knows what there was
            return
        if not await network_settles(before, look=self._addresses, limit_s=self._settle_limit_s):
            log.info("the network is not what it was before the sleep; runs begin without it")
