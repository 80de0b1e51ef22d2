"""How a run's work, ended one way or another, becomes its true status in the ledger. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from agents.clock import Clock
from agents.core import NewOccurrence, NewResult, Run, RunStatus
from agents.errors import Conflict, HearthError, NotFound, StoreProblem
from agents.runs.execution import Done, Execution
from agents.runs.retrying import given_up, gives_up, next_try
from agents.runs.superseded import Superseded
from agents.storage import Store
from engine.errors import EngineError, EngineStopped, ModelSetAside

INTERNAL_ERROR = "An internal error ended this run; the log names the place in the code."
GIVEN_UP = "agent_given_up"  # the kind of incident

Followers = Callable[[Run, RunStatus, NewResult | None, str | None], Awaitable[Sequence[NewOccurrence]]]
"""What the end of a run makes due: asked with the run, the status and result that it ends with, and its reason."""

log = logging.getLogger(__name__)


async def nobody(*_: object) -> Sequence[NewOccurrence]:
    """No run wakes anybody."""
    return ()


class Settler:
    """Writes the last row of each attempt. One retry owner: nothing else in the runtime tries a run again."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        followers: Followers,
        on_set_aside: Callable[[int, str], None],
        on_given_up: Callable[[str], Awaitable[None]],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`on_set_aside` is told the agent's id and why its model can't be used; `on_given_up` a sentence for the user."""
        self._store = store
        self._clock = clock
        self._followers = followers
        self._on_set_aside = on_set_aside
        self._on_given_up = on_given_up
        self._draw = draw
        self._counting = (
            asyncio.Lock()
        )  # two runs of one agent that fail at once are counted one after the other

    async def settle(self, execution: Execution, task: asyncio.Task[Done]) -> Run:
        """The run as it stands after its work has ended. Raises StoreProblem when that could not be written."""
        if task.cancelled():
            return await self._settle_ended(execution)
        run = execution.run
        match task.exception():
            case None:
                return await self._succeed(run, task.result())
            case Superseded() as why:
                return await self._store.runs.finish(run.id, RunStatus.CANCELLED, reason=str(why))
            case EngineStopped() if execution.cancelled or execution.is_given_back:
                return await self._settle_ended(execution)
            case ModelSetAside() as why:
                # Not this document's fault: its run waits, with all others of the agent, until the model is tried again.
                self._on_set_aside(run.agent_id, str(why))
                return await self._store.runs.give_back(run.id)
            case StoreProblem() as problem:
                raise problem
            case (Conflict() | NotFound()) as problem if not execution.has_begun:
                raise problem
            case (HearthError() | EngineError()) as error:
                log.warning("run %d failed: %s", run.id, error.code)
                return await self.fail(execution, str(error), error.code)
            case error:
                log.error("run %d failed with an unexpected error", run.id, exc_info=error)
                return await self.fail(execution, INTERNAL_ERROR)

    async def fail(self, execution: Execution, reason: str, code: str | None = None) -> Run:
        """The run is tried again later, if that can help, or ends as failed, also when it could not even begin."""
        run = await self._store.runs.get(execution.run.id)
        if run.status is RunStatus.PENDING:
            run = await self._store.runs.begin(run.id, owner=execution.owner, model="none")
        retry = execution.definition.policy.retry
        not_before = next_try(
            retry, code=code, failures=run.failures, now=self._clock.now(), draw=self._draw()
        )
        if not_before is not None:
            return await self._store.runs.retry_later(run.id, reason=reason, not_before=not_before)
        followers = await self._followers(run, RunStatus.FAILED, None, reason)
        run = await self._store.runs.finish(
            run.id, RunStatus.FAILED, reason=reason, code=code, followers=followers
        )
        await self._count_failures(run)
        return run

    async def fail_unbegun(self, run: Run, owner: str) -> Run:
        """A run of which nothing is known but its row ends as failed."""
        run = await self._store.runs.begin(run.id, owner=owner, model="none")
        return await self._store.runs.finish(run.id, RunStatus.FAILED, reason=INTERNAL_ERROR)

    async def _succeed(self, run: Run, done: Done) -> Run:
        status = RunStatus.SUCCEEDED if done.doubt is None else RunStatus.UNVERIFIED
        followers = await self._followers(run, status, done.result, done.doubt)
        return await self._store.runs.finish(
            run.id, status, reason=done.doubt, result=done.result, followers=followers
        )

    async def _settle_ended(self, execution: Execution) -> Run:
        """Somebody ended the work, maybe before its first row was written."""
        runs = self._store.runs
        run = await runs.get(execution.run.id)
        begun = run.status is RunStatus.RUNNING
        if execution.cancelled is not None:
            if begun:
                return await runs.finish(run.id, RunStatus.CANCELLED, reason=execution.cancelled)
            return await runs.cancel_pending(run.id, execution.cancelled)
        if execution.overrun is not None and not execution.is_given_back:
            return await self.fail(execution, str(execution.overrun), execution.overrun.code)
        return await runs.give_back(run.id) if begun else run

    async def _count_failures(self, run: Run) -> None:
        """Pauses an agent that fails and fails, and says so."""
        async with self._counting:
            if run.replay_of is not None or not gives_up(
                await self._store.runs.failures_in_a_row(run.agent_id)
            ):
                return
            agent = await self._store.agents.by_id(run.agent_id)
            if agent.paused:
                return
            sentence = given_up(agent.name, run.reason or INTERNAL_ERROR)
            await self._store.agents.set_paused(agent.id, True, reason=sentence)
            await self._store.incidents.add(GIVEN_UP, sentence, self._clock.now())
        await self._on_given_up(sentence)
