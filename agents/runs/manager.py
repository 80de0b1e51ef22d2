"""Takes pending runs from the ledger and ends each with a true status. Runs in: the runtime's event loop.

The runs of one agent are executed one after another, in the ledger's order; those of several agents side by side, since the
engine computes them in common batches. A run is a row before anything happens to it. Cancelling it, stopping the runtime and killing the runtime differ only in the status that
is left: cancelled, pending (given back) and running (which the next start turns into pending).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from agents import contract, views
from agents.core import AgentDefinition, NewResult, NotifyPolicy, Run, RunStatus
from agents.errors import Conflict, HearthError, NotFound, StoreProblem
from agents.events import EventBus
from agents.models.local import EnginePool
from agents.runs.context import RunContext
from agents.runs.superseded import Superseded
from agents.storage import Store
from engine.errors import EngineError, EngineStopped, ModelSetAside

Workflow = Callable[[RunContext, AgentDefinition], Awaitable[NewResult]]

CANCELLED_BY_USER = "Cancelled by you."
INTERNAL_ERROR = "An internal error ended this run; the log names the place in the code."
MAX_AT_ONCE = 4  # agents whose runs are in work
RETRY_S = 5.0
CANCEL_WAIT_S = 10.0
PROBE_KEY = "room_for_rows"
PROBE_CHARS = 300_000

log = logging.getLogger(__name__)


class _Execution:
    """A run in work, from the moment that it was taken until its last row is written."""

    def __init__(self) -> None:
        self.task: asyncio.Task[NewResult] | None = None
        self.ended = asyncio.Event()


class RunManager:
    """The workers that execute runs; each takes one agent's oldest run."""

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
    ) -> None:
        self._store = store
        self._engines = engines
        self._bus = bus
        self._owner = owner
        self._workflow = workflow
        self._on_change = on_change  # told the agent's name after each status change
        self._on_store_trouble = on_store_trouble  # told a sentence, and None once rows can be written again
        self._wakes = [asyncio.Event() for _ in range(MAX_AT_ONCE)]
        self._taking = asyncio.Lock()  # two workers must not take the same run
        self._stopping = False
        self._executions: dict[int, _Execution] = {}
        self._agents_at_work: set[int] = set()
        self._cancel_asked: set[int] = set()
        self._held: dict[int, str] = {}  # agents whose model was set aside, with the reason
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Makes the ledger true (nothing is running that nobody works on) and begins to work."""
        recovered = await self._store.runs.recover(self._owner)
        if recovered:
            log.info("%d runs go on after an unclean end", len(recovered))
        self._workers = [asyncio.create_task(self._work(wake), name="run-worker") for wake in self._wakes]

    def poke(self) -> None:
        """There may be a new pending run."""
        for wake in self._wakes:
            wake.set()

    def problem(self, agent_id: int) -> str | None:
        """Why this agent's runs wait, when it is the model's fault."""
        return self._held.get(agent_id)

    def release(self) -> None:
        """The models that were set aside are tried again."""
        self._held.clear()
        self.poke()

    async def cancel(self, run_id: int) -> Run:
        """Ends a pending or running run as cancelled; one that has ended is a Conflict.

        While the database can't be written the answer is the run as it stands; it ends as soon as rows can be written.
        """
        run = await self._store.runs.get(run_id)
        if run.status.is_final:
            raise Conflict(f"Run {run_id} is already {run.status.value}; there is nothing to cancel.")
        execution = self._executions.get(run_id)
        if execution is None:
            run = await self._store.runs.cancel_pending(run_id, CANCELLED_BY_USER)
            await self._told(run)
            return run
        self._cancel_asked.add(run_id)
        if execution.task is not None:
            execution.task.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(execution.ended.wait(), CANCEL_WAIT_S)
        run = await self._store.runs.get(run_id)
        if run.status.is_final and run.status is not RunStatus.CANCELLED:
            raise Conflict(f"Run {run_id} has just {run.status.value}; there is nothing to cancel.")
        return run

    async def stop(self) -> None:
        """Gives the runs in work back to the ledger and ends the workers."""
        self._stopping = True
        self.poke()
        for execution in self._executions.values():
            if execution.task is not None:
                execution.task.cancel()
        await asyncio.gather(*self._workers)

    async def _work(self, wake: asyncio.Event) -> None:
        while not self._stopping:
            wake.clear()
            run: Run | None = None
            try:
                run = await self._take()
                if run is None:
                    await wake.wait()
                else:
                    await self._execute(run)
            except StoreProblem as problem:
                await self._wait_for_store(wake, problem, run)
            except (Conflict, NotFound):
                log.info("a run was taken back before it began")
            except Exception:
                # The worker must outlive any single run; what it was doing is in the log.
                log.exception("a run could not be handled")
                await self._rest(wake)
            finally:
                if run is not None:
                    self._agents_at_work.discard(run.agent_id)

    async def _take(self) -> Run | None:
        """The oldest pending run of an agent of which no run is in work."""
        async with self._taking:
            skipped = frozenset(self._held) | self._agents_at_work
            run = await self._store.runs.next_pending(skip_agents=skipped)
            if run is not None:
                self._agents_at_work.add(run.agent_id)
            return run

    async def _rest(self, wake: asyncio.Event) -> None:
        """Waits a little before the next try; a stop ends it, also one that was asked for just before."""
        wake.clear()
        if self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), RETRY_S)

    async def _wait_for_store(self, wake: asyncio.Event, problem: StoreProblem, run: Run | None) -> None:
        """Says it once, then waits until rows can be written again; the run is given back, so nothing is lost."""
        log.error("the database can't be written: %s", problem.code)
        self._on_store_trouble(str(problem))
        while not self._stopping:
            await self._rest(wake)
            try:
                # Small rows may still fit where a document's text does not: try with as much as a run may need.
                await self._store.meta.set(PROBE_KEY, "x" * PROBE_CHARS)
                await self._store.meta.set(PROBE_KEY, "")
                if run is not None:
                    await self._store.runs.give_back(run.id)
            except StoreProblem:
                continue
            except (Conflict, NotFound):
                pass  # its last row was written after all, or it had not begun
            self._on_store_trouble(None)
            return

    async def _execute(self, run: Run) -> None:
        execution = self._executions[run.id] = _Execution()
        try:
            notify = NotifyPolicy.ALWAYS
            execution.task = asyncio.create_task(self._perform(run))
            if self._stopping or run.id in self._cancel_asked:
                execution.task.cancel()
            await asyncio.wait({execution.task})
            run = await self._settle(run, execution.task)
            if run.status.is_final:
                self._cancel_asked.discard(run.id)
                notify = (await self._store.agents.definition(run.revision_id)).notify
            await self._told(run, notify)
        finally:
            del self._executions[run.id]
            execution.ended.set()

    async def _perform(self, run: Run) -> NewResult:
        definition = await self._store.agents.definition(run.revision_id)
        granted = (await self._store.agents.by_id(run.agent_id)).definition.read_folders
        engine = self._engines.engine(definition.model)
        run = await self._store.runs.begin(
            run.id, owner=self._owner, model=engine.status.model_name or definition.model
        )
        await self._told(run)
        context = RunContext(run=run, store=self._store.runs, engine=engine, bus=self._bus, granted=granted)
        return await self._workflow(context, definition)

    async def _settle(self, run: Run, task: asyncio.Task[NewResult]) -> Run:
        """Writes the status that the task's end means."""
        runs = self._store.runs
        if task.cancelled():
            return await self._settle_cancelled(run)
        match task.exception():
            case None:
                return await runs.finish(run.id, RunStatus.SUCCEEDED, result=task.result())
            case Superseded() as why:
                return await runs.finish(run.id, RunStatus.CANCELLED, reason=str(why))
            case EngineStopped() if self._stopping:
                return await runs.give_back(run.id)
            case ModelSetAside() as why:
                # Not this document's fault: its run waits, with all others of the agent, until the model is tried again.
                self._held[run.agent_id] = str(why)
                return await runs.give_back(run.id)
            case StoreProblem() | Conflict() | NotFound() as problem:
                raise problem
            case (HearthError() | EngineError()) as error:
                log.warning("run %d failed: %s", run.id, error.code)
                return await self._fail(run, str(error), error.code)
            case error:
                log.error("run %d failed with an unexpected error", run.id, exc_info=error)
                return await self._fail(run, INTERNAL_ERROR)

    async def _settle_cancelled(self, run: Run) -> Run:
        """A cancelled task means that the user or a stop ended it, maybe before its first row was written."""
        runs = self._store.runs
        begun = (await runs.get(run.id)).status is RunStatus.RUNNING
        if run.id in self._cancel_asked:
            if begun:
                return await runs.finish(run.id, RunStatus.CANCELLED, reason=CANCELLED_BY_USER)
            return await runs.cancel_pending(run.id, CANCELLED_BY_USER)
        return await runs.give_back(run.id) if begun else run

    async def _fail(self, run: Run, reason: str, code: str | None = None) -> Run:
        """Ends a run as failed, also one that could not even begin."""
        if (await self._store.runs.get(run.id)).status is RunStatus.PENDING:
            await self._store.runs.begin(run.id, owner=self._owner, model="none")
        return await self._store.runs.finish(run.id, RunStatus.FAILED, reason=reason, code=code)

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
