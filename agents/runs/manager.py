"""Takes pending runs from the ledger and ends each with a true status. Runs in: the runtime's event loop.

The runs of one agent are executed one after another, unless it asks for several side by side; those of several agents side by side,
since the engine computes them in common batches. A run is a row before anything happens to it. Cancelling it, stopping the runtime
and killing the runtime differ only in the status that is left: cancelled, pending (given back) and running (which the next start turns
into pending).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from agents import contract, views
from agents.clock import Clock, SystemClock
from agents.core import NotifyPolicy, Run, RunStatus
from agents.errors import Conflict
from agents.events import EventBus
from agents.models.energy import EnergyCounter, EnergyMeters
from agents.models.local import EnginePool
from agents.runs.budget import Paces
from agents.runs.dispatching import Dispatcher
from agents.runs.executing import Executor, Workflow, Workshop
from agents.runs.holding import Holding
from agents.runs.house_budget import HouseBudget
from agents.runs.power import Power, WhyPaused, is_by_hand
from agents.runs.settling import Followers, Settler, nobody
from agents.runs.stop_switch import STOPPED, StopSwitch
from agents.storage import Store
from agents.triggers import TriggerKind

CANCELLED_BY_USER = "Cancelled by you."
REPLACED = "Replaced by a newer run."
CANCEL_WAIT_S = 10.0
PARK_WAIT_S = 1.8  # the computer goes to sleep two seconds after it said so
WAITING = frozenset({RunStatus.PENDING, RunStatus.WAITING})
_PAUSED = "the surroundings hold it"

log = logging.getLogger(__name__)


async def _ignore(_: str) -> None:
    """Nobody wants to know."""


class RunManager:
    """Decides which run is worked on, and ends each that somebody wants ended."""

    def __init__(
        self,
        *,
        store: Store,
        engines: EnginePool,
        bus: EventBus,
        owner: str,
        workflow: Workflow,
        on_change: Callable[[str], Awaitable[None]],
        on_store_trouble: Callable[[str | None], None],
        clock: Clock | None = None,
        why_paused: WhyPaused = lambda _: None,
        why_paused_by_hand: WhyPaused | None = None,
        is_throttled: Callable[[], bool] = lambda: False,
        followers: Followers = nobody,
        on_given_up: Callable[[str], Awaitable[None]] = _ignore,
        energy: EnergyCounter | None = None,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_change` is told an agent's name after each change of one of its runs, `on_store_trouble` a sentence, and None once rows
        can be written again. `why_paused` says why runs of a power class must not go on now, and `why_paused_by_hand` why not even those
        that somebody asked for; while `is_throttled`, background runs begin one after another. `at` is told each boundary of the work.
        """
        self._store = store
        self._bus = bus
        self._owner = owner
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._power = Power(why_paused, why_paused_by_hand, is_throttled)
        self._engines_held = False
        self.house_budget = HouseBudget(store.meta)
        self.switch = StopSwitch(store.meta, self._clock)
        self._holding = Holding(self.switch)
        workshop = Workshop(
            store=store,
            engines=engines,
            bus=bus,
            clock=self._clock,
            workflow=workflow,
            energy=energy or EnergyCounter(EnergyMeters()),
            paces=Paces(),
            house=self.house_budget,
            priority=self._power.priority,
            at=at,
        )
        settler = Settler(
            store=store,
            clock=self._clock,
            followers=followers,
            on_set_aside=self._holding.set_aside,
            on_given_up=on_given_up,
        )
        self._dispatcher = Dispatcher(
            store=store,
            clock=self._clock,
            owner=owner,
            holding=self._holding,
            power=self._power,
            executor=Executor(workshop, on_begun=self._begun),
            settler=settler,
            told=self._told,
            on_store_trouble=on_store_trouble,
            at=at,
        )

    async def start(self) -> None:
        """Makes the ledger true (nothing is running that nobody works on) and begins to work."""
        recovered = await self._store.runs.recover(self._owner)
        if recovered:
            log.info("%d runs go on after an unclean end", len(recovered))
        await self.switch.load()
        self._dispatcher.start()

    async def stop(self) -> None:
        """Gives the runs in work back to the ledger and ends."""
        await self._dispatcher.stop()

    def poke(self) -> None:
        """There may be a new pending run."""
        self._dispatcher.poke()

    # --- what holds runs back ---

    def problem(self, agent_id: int) -> str | None:
        """Why this agent's runs wait, when it is not their turn that they wait for."""
        return self._holding.reason(agent_id)

    def release(self) -> None:
        """The models that were set aside are tried again."""
        self._holding.release_models()
        self.poke()

    async def stop_all(self, reason: str = STOPPED) -> None:
        """Nothing generates for agents any more when this returns, and no run begins until resume_all, also after a restart.

        While it can't be written down it holds all the same, and is written as soon as rows can be.
        """
        setting = asyncio.ensure_future(self.switch.stop(reason))
        await asyncio.sleep(0)  # from here on it holds
        await self._give_all_back(PARK_WAIT_S)
        await setting
        self.poke()

    async def resume_all(self) -> None:
        await self.switch.resume()
        self.poke()

    async def park(self, reason: str = "The computer goes to sleep.") -> None:
        """Gives the runs in work back at their next token, within two seconds, and begins none until unpark."""
        self._holding.park(reason)
        await self._give_all_back(PARK_WAIT_S)

    def unpark(self) -> None:
        self._holding.unpark()
        self.poke()

    def surroundings_changed(self) -> None:
        """Power, load or presence allow more or less than before."""
        held_before, self._engines_held = self._engines_held, self._power.engines_hold
        for execution in self._dispatcher.executions.values():
            by_hand = is_by_hand(execution.run)
            if self._power.why_waits(execution.run, execution.definition) is None:
                execution.work_time.release(_PAUSED)
                if by_hand and self._engines_held and not held_before:
                    execution.give_back()  # it asked as background work does, which the engines hold from now on
                continue
            execution.work_time.hold(_PAUSED)
            if by_hand or not self._engines_held:
                execution.give_back()  # the engine goes on for others, so it can't hold this one's tokens back
        self.poke()

    # --- ends that somebody asks for ---

    async def cancel(self, run_id: int, reason: str = CANCELLED_BY_USER) -> Run:
        """Ends a pending or running run as cancelled; one that has ended is a Conflict.

        While the database can't be written the answer is the run as it stands; it ends as soon as rows can be written.
        """
        run = await self._store.runs.get(run_id)
        if run.status.is_final:
            raise Conflict(f"Run {run_id} is already {run.status.value}; there is nothing to cancel.")
        execution = self._dispatcher.executions.get(run_id)
        if execution is not None:
            execution.cancel(reason)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(execution.ended.wait(), CANCEL_WAIT_S)
            run = await self._store.runs.get(run_id)
        is_owed = self._dispatcher.cancel_owed(run_id, reason)
        if not is_owed and run_id not in self._dispatcher.executions and run.status in WAITING:
            # Also one whose work had just ended and was given back, or is to be tried again.
            run = await self._store.runs.cancel_pending(run_id, reason)
            await self._told(run, NotifyPolicy.NEVER)
        if run.status.is_final and run.status is not RunStatus.CANCELLED:
            raise Conflict(f"Run {run_id} has just {run.status.value}; there is nothing to cancel.")
        return run

    async def replace(self, agent_id: int) -> None:
        """Cancels what is unfinished of an agent's runs, because a newer one takes their place. Files are each their own work."""
        for run in await self._store.runs.unfinished(agent_id):
            is_of_files = (
                run.path is not None or run.trigger is TriggerKind.FILE_CHANGED
            )  # a storm has no path
            if not is_of_files:
                with contextlib.suppress(Conflict):  # it has just ended
                    await self.cancel(run.id, REPLACED)

    async def _give_all_back(self, timeout_s: float) -> None:
        executions = list(self._dispatcher.executions.values())
        for execution in executions:
            execution.give_back()
        waits = [asyncio.ensure_future(execution.ended.wait()) for execution in executions]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout_s)
            for wait in late:
                wait.cancel()

    # --- what clients hear ---

    async def _begun(self, run: Run) -> None:
        self.poke()  # another run of its agent may begin beside it
        await self._told(run, NotifyPolicy.NEVER)

    async def _told(self, run: Run, notify: NotifyPolicy) -> None:
        """Tells the clients what is on disk now."""
        info = views.run_info(run)
        self._bus.publish(contract.RunChanged(run=info))
        if run.status in (RunStatus.SUCCEEDED, RunStatus.UNVERIFIED):
            result = await self._store.runs.result_of(run.id)
            if result is not None:
                self._bus.publish(
                    contract.ResultReady(
                        result=views.result_info(result), notify=notify is NotifyPolicy.ALWAYS
                    )
                )
        elif run.status is RunStatus.FAILED:
            self._bus.publish(contract.RunFailed(run=info, notify=notify is not NotifyPolicy.NEVER))
        await self._on_change(run.agent_name)
