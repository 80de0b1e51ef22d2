"""Doing a run again: from its beginning, or as a replay of what it recorded, on another model or revision.

Runs in: the runtime's event loop. A replay executes the model's steps anew and takes all others as they were; it changes nothing outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from agents.clock import Clock
from agents.core import NewOccurrence, Result, Run, Step
from agents.errors import Conflict, NotFound
from agents.models.naming import check_model
from agents.runs.replaying import replay_of, retry_of
from agents.storage import Store


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two runs that are compared."""

    run: Run
    result: Result | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """A run and a replay of it."""

    original: Side
    replay: Side


class Repeater:
    """Records runs that repeat others; the run manager executes them as any other."""

    def __init__(self, *, store: Store, clock: Clock, poke: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._poke = poke

    async def retry(self, run_id: int) -> Run:
        """The same work again, by the agent as it is now. Conflict while the run has not ended."""
        run = await self._ended(run_id)
        return await self._recorded(retry_of(run, now=self._clock.now()), run, retry_of=run.id)

    async def replay(self, run_id: int, *, model: str | None = None, revision: int | None = None) -> Run:
        """What it recorded again, by `model` (the agent's own by default) and the agent's revision of that number (the run's own).

        Raises Conflict while the run has not ended and once its steps' outputs are forgotten, NotFound when there is no such revision,
        UsageProblem when there is no such model.
        """
        if model is not None:
            await asyncio.to_thread(check_model, model)
        run = await self._ended(run_id)
        if run.replay_of is not None:
            raise Conflict(f"Run {run.id} is a replay itself; replay run {run.replay_of} instead.")
        if await self._store.runs.lacks_outputs(run.id):
            raise Conflict(
                f"What the steps of run {run.id} had kept was forgotten to keep the history small; it can't be replayed, "
                f"but done anew with `hearth runs retry {run.id}`."
            )
        revision_id = run.revision_id if revision is None else await self._revision_id(run, revision)
        new = replay_of(run, now=self._clock.now(), model=model)
        return await self._recorded(new, run, replay_of=run.id, revision_id=revision_id)

    async def side_by_side(self, replay_id: int) -> SideBySide:
        """A replay beside what it replays. Conflict when the run is no replay."""
        replay = await self._store.runs.get(replay_id)
        if replay.replay_of is None:
            raise Conflict(f"Run {replay_id} is no replay; there is nothing to put beside it.")
        return SideBySide(original=await self._side(replay.replay_of), replay=await self._side(replay_id))

    async def _side(self, run_id: int) -> Side:
        return Side(
            run=await self._store.runs.get(run_id),
            result=await self._store.runs.result_of(run_id),
            steps=tuple(await self._store.runs.steps(run_id)),
        )

    async def _ended(self, run_id: int) -> Run:
        run = await self._store.runs.get(run_id)
        if not run.status.is_final:
            raise Conflict(f"Run {run_id} is still {run.status.value}; cancel it first, or wait for its end.")
        return run

    async def _revision_id(self, run: Run, number: int) -> int:
        for revision in await self._store.agents.revisions(run.agent_id):
            if revision.number == number:
                return revision.id
        raise NotFound(f"“{run.agent_name}” has no revision {number}; `hearth agents show` lists them.")

    async def _recorded(
        self,
        new: NewOccurrence,
        again: Run,
        *,
        retry_of: int | None = None,
        replay_of: int | None = None,
        revision_id: int | None = None,
    ) -> Run:
        files = await self._store.runs.occurrence_files(again.occurrence_id)
        run = await self._store.runs.record(
            new, files=files, retry_of=retry_of, replay_of=replay_of, revision_id=revision_id
        )
        if run is None:
            raise Conflict("This run is recorded already.")
        self._poke()
        return run
