"""The ledger as the runtime awaits it: occurrences, runs, steps and results."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agents.clock import Clock
from agents.core import (
    FileState,
    NewOccurrence,
    NewResult,
    Result,
    Run,
    RunStatus,
    Step,
    StepKind,
    StepStatus,
    StepUsage,
)
from agents.storage import file_rows, ledger, run_rows, step_rows
from agents.storage.conversation_store import cut_streaming_turns
from agents.storage.values import to_us
from agents.storage.writer import Writer


class RunStore:
    """Each method is one transaction. A change that a run's status does not allow is a Conflict that names both states."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    def _now_us(self) -> int:
        return to_us(self._clock.now())

    # --- runs ---

    async def record(self, new: NewOccurrence, *, file_state: FileState | None = None) -> Run | None:
        """Stores an occurrence with its pending run, and what is known of its file; None when (agent, key) exists already."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: ledger.record_occurrence(db, new, file_state=file_state, now_us=now_us)
        )

    async def get(self, run_id: int) -> Run:
        return await self._writer.read(lambda db: run_rows.get_run(db, run_id))

    async def list(
        self,
        *,
        agent: str | None = None,
        status: RunStatus | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> builtins.list[Run]:
        """Newest first; `before` is the id that the page before ended with."""
        return await self._writer.read(
            lambda db: run_rows.list_runs(db, agent=agent, status=status, limit=limit, before=before)
        )

    async def next_pending(self, *, skip_agents: Collection[int] = ()) -> Run | None:
        """The run that has been due for longest; those of paused agents wait, and those of `skip_agents`."""
        return await self._writer.read(lambda db: run_rows.next_pending_run(db, skip_agents))

    async def begin(self, run_id: int, *, owner: str, model: str) -> Run:
        """Pending becomes running. `owner` names this runtime, so that the next one can tell its runs from its own."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: ledger.begin_run(db, run_id, owner=owner, model=model, now_us=now_us)
        )

    async def give_back(self, run_id: int) -> Run:
        """Running becomes pending, its open step interrupted: an ordered stop."""
        now_us = self._now_us()
        return await self._writer.write(lambda db: ledger.give_back_run(db, run_id, now_us=now_us))

    async def finish(
        self,
        run_id: int,
        status: RunStatus,
        *,
        reason: str | None = None,
        code: str | None = None,
        result: NewResult | None = None,
    ) -> Run:
        """Ends a run together with its occurrence, its open step and, when it succeeded, its result; `code` is a failure's."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: ledger.finish_run(
                db, run_id, status, reason=reason, code=code, result=result, now_us=now_us
            )
        )

    async def cancel_pending(self, run_id: int, reason: str) -> Run:
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: ledger.cancel_pending_run(db, run_id, reason, now_us=now_us)
        )

    async def recover(self, owner: str) -> builtins.list[Run]:
        """At start: whatever another runtime left running is given back, and messages that it was streaming are cut.

        Returns the runs that were given back, as they are now.
        """
        now_us = self._now_us()

        def job(db: Database) -> list[Run]:
            cut_streaming_turns(db)
            return ledger.recover_runs(db, owner, now_us=now_us)

        return await self._writer.write(job)

    async def counts(self) -> Mapping[RunStatus, int]:
        return await self._writer.read(lambda db: run_rows.count_runs(db, None))

    async def agent_counts(self, agent_id: int) -> Mapping[RunStatus, int]:
        return await self._writer.read(lambda db: run_rows.count_runs(db, agent_id))

    async def last_run(self, agent_id: int) -> Run | None:
        return await self._writer.read(lambda db: run_rows.last_run_of(db, agent_id))

    # --- what the runs mean for files ---

    async def handled_elsewhere(self, agent_id: int, content_hash: str) -> builtins.list[Path]:
        """Where this agent has read that content before: a file of it under a new name was renamed or copied."""
        return await self._writer.read(lambda db: file_rows.paths_read(db, agent_id, content_hash))

    async def lost_versions(self, agent_id: int) -> set[tuple[Path, str]]:
        """Path and hash of what was gone when its run came, and was not read since: it is read if it is there again."""
        return await self._writer.read(lambda db: file_rows.lost_versions(db, agent_id))

    # --- steps ---

    async def begin_step(self, run_id: int, *, key: str, kind: StepKind, title: str) -> Step:
        """Begins the step with that key, or returns it with its output when an earlier attempt finished it."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: step_rows.begin_step(db, run_id, key=key, kind=kind, title=title, now_us=now_us)
        )

    async def finish_step(self, step_id: int, *, output: Any, detail: str | None, usage: StepUsage) -> Step:
        """Stores what a step made: any JSON value."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: step_rows.finish_step(
                db, step_id, output=output, detail=detail, usage=usage, now_us=now_us
            )
        )

    async def fail_step(self, step_id: int, *, status: StepStatus, error: str) -> Step:
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: step_rows.fail_step(db, step_id, status=status, error=error, now_us=now_us)
        )

    async def steps(self, run_id: int) -> builtins.list[Step]:
        return await self._writer.read(lambda db: step_rows.list_steps(db, run_id))

    # --- results ---

    async def results(
        self, *, agent: str | None = None, limit: int = 50, before: int | None = None
    ) -> builtins.list[Result]:
        """Newest first; `before` is the id that the page before ended with."""
        return await self._writer.read(
            lambda db: run_rows.list_results(db, agent=agent, limit=limit, before=before)
        )

    async def result_of(self, run_id: int) -> Result | None:
        return await self._writer.read(lambda db: run_rows.result_of_run(db, run_id))
