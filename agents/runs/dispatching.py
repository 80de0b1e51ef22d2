"""Finds the next run that may begin, gives it a task, and sees that its last row is written. Runs in: the runtime's event loop.

A run is worked on by one task of its own. When that task could not write its last row, the run is owed to the ledger: it is given back
as soon as rows can be written again, so no run stays "running" that nobody works on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from agents.clock import Clock
from agents.core import NotifyPolicy, Run
from agents.errors import Conflict, NotFound, StoreProblem
from agents.runs.executing import Executor
from agents.runs.execution import Execution
from agents.runs.holding import Holding
from agents.runs.power import Power, is_by_hand
from agents.runs.settling import INTERNAL_ERROR, Settler
from agents.runs.work_time import WorkTime
from agents.storage import Store

MAX_AT_ONCE = 4  # runs in work
RETRY_S = 5.0  # after trouble with the database, or a bug
LOOK_S = 15.0  # how often the ledger is looked at when nobody says that there is something new
PROBE_KEY = "room_for_rows"
PROBE_CHARS = 300_000

Told = Callable[[Run, NotifyPolicy], Awaitable[None]]

log = logging.getLogger(__name__)


class Dispatcher:
    """The one task that takes runs, and one more for each run in work."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        owner: str,
        holding: Holding,
        power: Power,
        executor: Executor,
        settler: Settler,
        told: Told,
        on_store_trouble: Callable[[str | None], None],
        at: Callable[[str], None],
    ) -> None:
        """`told` hears of each run that ends or goes back to waiting, with what its agent wants to be notified of."""
        self._store = store
        self._clock = clock
        self._owner = owner
        self._holding = holding
        self._power = power
        self._executor = executor
        self._settler = settler
        self._told = told
        self._on_store_trouble = on_store_trouble
        self._at = at
        self.executions: dict[int, Execution] = {}
        self._works: set[asyncio.Task[None]] = set()
        self._owed: dict[int, str | None] = {}  # runs, and why they are to be cancelled, if they are
        self._trouble: StoreProblem | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._dispatch(), name="run-dispatcher")

    async def stop(self) -> None:
        """Gives the runs in work back to the ledger and ends."""
        self._stopping = True
        self.poke()
        for execution in self.executions.values():
            execution.give_back()
        if self._task is not None:
            await self._task
        await asyncio.gather(*self._works)

    def poke(self) -> None:
        self._wake.set()

    def cancel_owed(self, run_id: int, reason: str) -> bool:
        """Whether this run's last row is still to be written; then it will be that it was cancelled."""
        if run_id not in self._owed:
            return False
        self._owed[run_id] = reason
        return True

    async def _dispatch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            wait_s = RETRY_S
            try:
                if self._trouble is not None or self._owed:
                    await self._settle_owed()
                await self._holding.write_owed()
                await self._begin_what_may_begin()
                wait_s = await self._look_again_in_s()
            except StoreProblem as problem:
                self._note_trouble(problem)
                self._be_patient()
            except Exception:
                # The dispatcher must outlive any single run; what it was doing is in the log.
                log.exception("a run could not be handled")
                self._be_patient()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    def _be_patient(self) -> None:
        """What is new can wait while there is trouble; a stop can't."""
        if not self._stopping:
            self._wake.clear()

    async def _begin_what_may_begin(self) -> None:
        powerless: dict[int, str] = {}
        helpless: set[int] = set()  # of which not even what somebody asked for may begin
        while self._may_begin():
            run = await self._store.runs.next_pending(
                now=self._clock.now(),
                skip_agents=self._busy() | self._holding.agents | helpless,
                held_agents=powerless.keys(),
                only_by_hand=self._power.is_throttled and self._is_at_work_in_background(),
            )
            if run is None:
                break
            execution = await self._execution_of(run)
            if execution is None:
                continue
            reason = self._power.why_waits(run, execution.definition)
            if reason is not None:
                powerless.setdefault(run.agent_id, reason)
                if is_by_hand(run):
                    helpless.add(run.agent_id)
            elif self._may_begin() and not self._make_way(execution):  # it may have changed since the look-up
                self._begin(execution)
        self._holding.note_power(powerless)

    def _may_begin(self) -> bool:
        at_work = sum(not self._is_held(execution) for execution in self.executions.values())
        return not self._stopping and self._holding.everything is None and at_work < MAX_AT_ONCE

    def _busy(self) -> frozenset[int]:
        """Agents of which as many runs are in work as may be side by side, or one may wait in the ledger though it was taken.

        A run that the surroundings hold keeps nobody busy: it makes way for one that somebody asked for.
        """
        moving = [execution for execution in self.executions.values() if not self._is_held(execution)]
        at_work = Counter(execution.run.agent_id for execution in moving)
        return frozenset(
            execution.run.agent_id
            for execution in moving
            if not execution.is_at_work or at_work[execution.run.agent_id] >= execution.side_by_side
        )

    def _is_held(self, execution: Execution) -> bool:
        """Whether it stands still where it is, because of the surroundings."""
        if not execution.is_at_work or execution.is_given_back:
            return False
        return self._power.why_waits(execution.run, execution.definition) is not None

    def _is_at_work_in_background(self) -> bool:
        return any(not is_by_hand(execution.run) for execution in self.executions.values())

    def _make_way(self, execution: Execution) -> bool:
        """Gives back held runs of its agent where it would be one too many; it is found again once they have ended."""
        same = [other for other in self.executions.values() if other.run.agent_id == execution.run.agent_id]
        held = [other for other in same if self._is_held(other)]
        if len(same) < execution.side_by_side or not held:
            return False
        for other in held:
            other.give_back()
        return True

    async def _execution_of(self, run: Run) -> Execution | None:
        """None for a run that can't even begin, which has failed then."""
        try:
            definition = await self._store.agents.definition(run.revision_id)
        except StoreProblem:
            raise
        except Exception:
            log.exception("run %d can't begin", run.id)
            await self._told(await self._settler.fail_unbegun(run, self._owner), NotifyPolicy.FAILED)
            return None
        work_time = WorkTime(definition.policy.limits, self._clock.monotonic)
        return Execution(run, definition, work_time, owner=self._owner)

    def _begin(self, execution: Execution) -> None:
        self.executions[execution.run.id] = execution
        work = asyncio.create_task(self._work(execution), name=f"run-{execution.run.id}")
        self._works.add(work)
        work.add_done_callback(self._works.discard)

    async def _work(self, execution: Execution) -> None:
        run_id = execution.run.id
        try:
            run = await self._worked(execution)
            self._at("run settled")
            await self._told(run, execution.definition.notify)
        except StoreProblem as problem:
            self._owed[run_id] = execution.cancelled
            self._note_trouble(problem)
        except (Conflict, NotFound):
            log.info("a run was taken back before it began")
            self._owed[run_id] = execution.cancelled
        except Exception:
            log.exception("run %d could not be settled", run_id)
            await self._fail_unsettled(execution)
        finally:
            del self.executions[run_id]
            execution.ended.set()
            self.poke()

    async def _fail_unsettled(self, execution: Execution) -> None:
        """A bug of ours must neither leave a run at work nor try it for ever."""
        try:
            run = await self._settler.fail(execution, INTERNAL_ERROR)
        except StoreProblem as problem:
            self._owed[execution.run.id] = INTERNAL_ERROR
            self._note_trouble(problem)
        except (Conflict, NotFound):
            log.info("run %d had its last row", execution.run.id)
        except Exception:  # the same bug again: the ledger is to be told without asking anybody else
            log.exception("run %d could not even fail", execution.run.id)
            self._owed[execution.run.id] = INTERNAL_ERROR
        else:
            await self._told(run, NotifyPolicy.FAILED)

    async def _worked(self, execution: Execution) -> Run:
        task = asyncio.create_task(self._executor.perform(execution))
        execution.start(task)
        watch = asyncio.create_task(execution.watch_time())
        try:
            await asyncio.wait({task})
        finally:
            watch.cancel()
        return await self._settler.settle(execution, task)

    async def _look_again_in_s(self) -> float:
        """Until a run that has to wait may begin, LOOK_S at most."""
        now = self._clock.now()
        next_at = await self._store.runs.next_not_before(now)
        if next_at is None:
            return LOOK_S
        return min(LOOK_S, max(0.0, (next_at - now).total_seconds()) + 0.01)

    def _note_trouble(self, problem: StoreProblem) -> None:
        """Says it once; the dispatcher looks again and again whether rows can be written."""
        if self._trouble is None:
            log.error("the database can't be written: %s", problem.code)
            self._on_store_trouble(str(problem))
        self._trouble = problem

    async def _settle_owed(self) -> None:
        """Gives back what could not be settled. Raises StoreProblem while rows can't be written."""
        if self._trouble is not None:
            # Small rows may still fit where a document's text does not: try with as much as a run may need.
            await self._store.meta.set(PROBE_KEY, "x" * PROBE_CHARS)
            await self._store.meta.set(PROBE_KEY, "")
        for run_id in list(self._owed):
            with contextlib.suppress(
                Conflict, NotFound
            ):  # its last row was written after all, or it had not begun
                await self._store.runs.give_back(run_id)
            reason = self._owed.pop(run_id)
            if reason is not None:
                with contextlib.suppress(Conflict, NotFound):
                    await self._store.runs.cancel_pending(run_id, reason)
            with contextlib.suppress(NotFound):
                await self._told(await self._store.runs.get(run_id), NotifyPolicy.NEVER)
        if self._trouble is not None:
            self._trouble = None
            self._on_store_trouble(None)
