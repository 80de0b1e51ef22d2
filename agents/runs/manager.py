"""Takes pending runs from the ledger, one at a time, and ends each with a true status. Runs in: the runtime's event loop.

A run is a row before anything happens to it. Cancelling it, stopping the runtime and killing the runtime differ only in the status that
is left: cancelled, pending (given back) and running (which the next start turns into pending).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from agents import contract, views
from agents.core import AgentDefinition, NewResult, NotifyPolicy, Run, RunStatus
from agents.errors import Conflict, HearthError, StoreProblem
from agents.events import EventBus
from agents.models.local import EnginePool
from agents.runs.context import RunContext
from agents.runs.superseded import Superseded
from agents.storage import Store
from engine.errors import EngineError, EngineStopped

Workflow = Callable[[RunContext, AgentDefinition], Awaitable[NewResult]]

CANCELLED_BY_USER = "Cancelled by you."
INTERNAL_ERROR = "An internal error ended this run; the log names the place in the code."
RETRY_S = 5.0

log = logging.getLogger(__name__)


class RunManager:
    """The one worker that executes runs."""

    def __init__(
        self,
        *,
        store: Store,
        engines: EnginePool,
        bus: EventBus,
        owner: str,
        workflow: Workflow,
        on_change: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._engines = engines
        self._bus = bus
        self._owner = owner
        self._workflow = workflow
        self._on_change = on_change  # told the agent's name after each status change
        self._wake = asyncio.Event()
        self._stopping = False
        self._current: tuple[int, asyncio.Task[NewResult]] | None = None
        self._cancel_asked: set[int] = set()
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes the ledger true (nothing is running that nobody works on) and begins to work."""
        recovered = await self._store.runs.recover(self._owner)
        if recovered:
            log.info("%d runs go on after an unclean end", len(recovered))
        self._worker = asyncio.create_task(self._work(), name="run-worker")

    def poke(self) -> None:
        """There may be a new pending run."""
        self._wake.set()

    async def cancel(self, run_id: int) -> Run:
        """Ends a pending or running run as cancelled; a finished one is a Conflict."""
        run = await self._store.runs.get(run_id)
        if run.status.is_final:
            raise Conflict(f"Run {run_id} is already {run.status.value}; there is nothing to cancel.")
        if self._current is not None and self._current[0] == run_id:
            self._cancel_asked.add(run_id)
            self._current[1].cancel()
            await asyncio.wait({self._current[1]})
            return await self._ended(run_id)
        run = await self._store.runs.cancel_pending(run_id, CANCELLED_BY_USER)
        await self._told(run)
        return run

    async def stop(self) -> None:
        """Gives the run in work back to the ledger and ends the worker."""
        self._stopping = True
        self._wake.set()
        if self._current is not None:
            self._current[1].cancel()
        if self._worker is not None:
            await self._worker

    async def _ended(self, run_id: int) -> Run:
        while not (run := await self._store.runs.get(run_id)).status.is_final:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the worker is writing the last row
        return run

    async def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            run: Run | None = None
            try:
                run = await self._store.runs.next_pending()
                if run is None:
                    await self._wake.wait()
                else:
                    await self._execute(run)
            except StoreProblem as problem:
                await self._wait_for_store(problem, run)
            except Exception:
                # The worker must outlive any single run; what it was doing is in the log.
                log.exception("a run could not be handled")
                await self._rest()

    async def _rest(self) -> None:
        """Waits a little before the next try; a stop ends it."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), RETRY_S)

    async def _wait_for_store(self, problem: StoreProblem, run: Run | None) -> None:
        """Says it once, then waits until rows can be written again; the run is given back, so nothing is lost."""
        log.error("the database can't be written: %s", problem.code)
        self._bus.publish(contract.Notice(level=contract.NoticeLevel.ERROR, text=str(problem)))
        while not self._stopping:
            await self._rest()
            try:
                if run is not None:
                    await self._store.runs.give_back(run.id)
            except StoreProblem:
                continue
            except Conflict:
                pass  # its last row was written after all, or it had not begun
            return

    async def _execute(self, run: Run) -> None:
        definition = await self._store.agents.definition(run.revision_id)
        engine = self._engines.engine(definition.model)
        await self._engines.release_others(definition.model)
        run = await self._store.runs.begin(
            run.id, owner=self._owner, model=engine.status.model_name or definition.model
        )
        await self._told(run)
        context = RunContext(run=run, store=self._store.runs, engine=engine, bus=self._bus)
        task = asyncio.ensure_future(self._workflow(context, definition))
        self._current = (run.id, task)
        if self._stopping:
            task.cancel()
        try:
            await asyncio.wait({task})
        finally:
            self._current = None
        run = await self._settle(run, task)
        await self._told(run, definition.notify)

    async def _settle(self, run: Run, task: asyncio.Task[NewResult]) -> Run:
        """Writes the status that the task's end means."""
        runs = self._store.runs
        error = None if task.cancelled() else task.exception()
        cancelled_by_user = run.id in self._cancel_asked
        self._cancel_asked.discard(run.id)
        match error:
            case None if not task.cancelled():
                return await runs.finish(run.id, RunStatus.SUCCEEDED, result=task.result())
            case None if cancelled_by_user:
                return await runs.finish(run.id, RunStatus.CANCELLED, reason=CANCELLED_BY_USER)
            case None:
                return await runs.give_back(run.id)
            case Superseded():
                return await runs.finish(run.id, RunStatus.CANCELLED, reason=str(error))
            case EngineStopped() if self._stopping:
                return await runs.give_back(run.id)
            case StoreProblem():
                raise error
            case HearthError() | EngineError():
                log.warning("run %d failed: %s", run.id, getattr(error, "code", "error"))
                return await runs.finish(run.id, RunStatus.FAILED, reason=str(error))
            case _:
                log.error("run %d failed with an unexpected error", run.id, exc_info=error)
                return await runs.finish(run.id, RunStatus.FAILED, reason=INTERNAL_ERROR)

    async def _told(self, run: Run, notify: NotifyPolicy = NotifyPolicy.NEVER) -> None:
        """Tells the clients what is on disk now."""
        info = views.run_info(run)
        self._bus.publish(contract.RunChanged(run=info))
        if run.status is RunStatus.SUCCEEDED:
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
