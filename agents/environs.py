"""The computer around the runtime, put together: what it allows the agents, and what is done around its sleep.

Runs in: the runtime's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import psutil

from agents import contract
from agents.clock import Clock
from agents.core import Agent, HeldBy
from agents.errors import StoreProblem
from agents.events import EventBus
from agents.models.local import EnginePool
from agents.policies import PowerClass
from agents.runs.manager import RunManager
from agents.scheduling.service import Scheduler
from agents.surroundings.around_sleep import AroundSleep
from agents.surroundings.clocks import Clocks, system_clocks
from agents.surroundings.core import Prober
from agents.surroundings.governor import Action
from agents.surroundings.load import LoadMeter
from agents.surroundings.probing import system_prober, system_sleep_signals
from agents.surroundings.service import SurroundingsService
from agents.surroundings.sleep import SleepSignals, SleepWatcher
from agents.triggers import IdleTrigger, Trigger, TriggerKind
from agents.watching.service import FileTriggerService

RETRY_S = 15.0  # after something that happened could not be written down

log = logging.getLogger(__name__)


class Environs:
    """`start` it before runs begin, so that the first one already knows; `stop` it before the scheduler stops."""

    def __init__(
        self,
        *,
        engines: EnginePool,
        runs: RunManager,
        scheduler: Scheduler,
        folders: FileTriggerService,
        agents: Callable[[], Iterable[Agent]],
        bus: EventBus,
        clock: Clock,
        prober: Prober | None = None,
        signals: SleepSignals | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        """What is None is this system's own."""
        self._runs = runs
        self._scheduler = scheduler
        self._bus = bus
        self._clock = clock
        self._announcing: set[asyncio.Task[None]] = set()
        self.surroundings = SurroundingsService(
            prober=prober or system_prober(),
            load=LoadMeter(own_pids=lambda: [os.getpid(), *engines.pids]),
            clock=clock,
            n_cpus=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
            set_limits=engines.set_limits,
            on_change=self._changed,
            on_idle=self._went_away,
            agents=agents,
        )
        self._around = AroundSleep(
            runs=runs,
            probe_engines=engines.probe,
            after_gap=scheduler.after_gap,
            watch_anew=folders.look_again,
            look_around=self.surroundings.look,
            announce_wake=self._woke,
            now=clock.now,
        )
        self._sleep = SleepWatcher(
            signals=signals or system_sleep_signals(),
            clocks=clocks or system_clocks(),
            on_sleep=self._around.before,
            on_wake=self._around.after,
            on_clock_set=self._clock_was_set,
        )

    async def start(self) -> None:
        await self.surroundings.start()
        await self._sleep.start()

    async def stop(self) -> None:
        await self._sleep.stop()
        await self.surroundings.stop()
        for task in self._announcing:
            task.cancel()
        await asyncio.gather(*self._announcing, return_exceptions=True)

    def why_paused(self, power: PowerClass, *, by_hand: bool = False) -> str | None:
        """Why work of this class must not go on now, in one sentence."""
        verdict = self.surroundings.verdict(power, by_hand=by_hand)
        return verdict.reason if verdict.action is Action.PAUSE else None

    @property
    def is_throttled(self) -> bool:
        """Whether background work is to go on with less."""
        return self.surroundings.verdict().action is Action.THROTTLE

    @property
    def governor(self) -> contract.GovernorInfo:
        """What holds for ordinary agents, for the clients."""
        verdict = self.surroundings.verdict()
        return contract.GovernorInfo(action=verdict.action.value, reason=verdict.reason)

    def _changed(self) -> None:
        self._runs.surroundings_changed()
        if self.surroundings.current.on_ac is not False:
            self._scheduler.release(HeldBy.AC_POWER)
        self._bus.publish(contract.GovernorChanged(governor=self.governor))

    def _clock_was_set(self, by_s: float) -> None:
        self._spawn(partial(self._scheduler.after_gap, f"the clock was set by {by_s:+.0f} s"))

    def _went_away(self, after_s: float) -> None:
        mark = self._clock.now().isoformat(timespec="seconds")

        def waits(trigger: Trigger) -> bool:
            return isinstance(trigger, IdleTrigger) and trigger.after_s == after_s

        self._spawn(partial(self._announce, TriggerKind.IDLE, mark, waits))

    async def _woke(self, mark: str) -> None:
        self._spawn(partial(self._announce, TriggerKind.WAKE, mark, lambda _: True))

    async def _announce(self, kind: TriggerKind, mark: str, waits: Callable[[Trigger], bool]) -> None:
        """Until it is written down: what could not be stored now, because the disk is full, say, has happened all the same."""
        while True:
            try:
                await self._scheduler.happened(kind, mark, where=waits)
            except StoreProblem as problem:
                log.warning("%s could not be written down yet: %s", kind.value, problem.code)
                await asyncio.sleep(RETRY_S)
            except Exception:
                # A bug: the same again would help nobody.
                log.exception("%s could not be announced", kind.value)
                return
            else:
                return

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(work())
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)
