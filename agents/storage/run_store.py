"""The ledger as the runtime awaits it: occurrences, runs, steps and results."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agents.clock import Clock
from agents.core import (
    Effect,
    FileState,
    NewOccurrence,
    NewResult,
    Occurrence,
    Result,
    Run,
    RunStatus,
    Step,
    StepKind,
    StepStatus,
    StepUsage,
)
from agents.storage import effect_rows, file_rows, ledger, occurrence_rows, run_rows, run_search, step_rows
from agents.storage.conversation_store import cut_streaming_turns
from agents.storage.driver import scalar
from agents.storage.text_search import COUNT_REMEMBERED, NEWEST_REMEMBERED, REMEMBERED_AT_ONCE, words_of
from agents.storage.values import to_json, to_us
from agents.storage.writer import Writer
from agents.triggers import TriggerKind


class RunStore:
    """Each method is one transaction. A change that a run's status does not allow is a Conflict that names both states."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    def _now_us(self) -> int:
        return to_us(self._clock.now())

    # --- runs ---

    async def record(
        self,
        new: NewOccurrence,
        *,
        file_state: FileState | None = None,
        file_states: Sequence[FileState] = (),
        files: Sequence[tuple[Path, str, int]] = (),
        revision_id: int | None = None,
        retry_of: int | None = None,
        replay_of: int | None = None,
    ) -> Run | None:
        """Stores an occurrence with its pending run, and what is known of its files; None when (agent, key) exists already.

        `files` are the versions that one run tells about: path, hash, size in bytes. Without `revision_id` the run follows the
        agent's current revision.
        """
        now_us = self._now_us()
        states = (*file_states, *([] if file_state is None else [file_state]))
        return await self._writer.write(
            lambda db: ledger.record_occurrence(
                db,
                new,
                file_states=states,
                files=files,
                revision_id=revision_id,
                retry_of=retry_of,
                replay_of=replay_of,
                now_us=now_us,
            )
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
        return await self.search(agent=agent, status=status, limit=limit, before=before)

    async def search(
        self,
        *,
        text: str | None = None,
        agent: str | None = None,
        status: RunStatus | None = None,
        trigger: TriggerKind | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> builtins.list[Run]:
        """Newest first. `text`: words that stand, in any case, in the agent's name, the reason, the path or the result.

        `since` and `until` (not included) are of when a run came into being. Words are looked for in the newest 20,000 runs that
        the other conditions leave; with `before` the search goes on from there.
        """
        return await self._writer.read(
            lambda db: run_search.search_runs(
                db,
                text=text,
                agent=agent,
                status=status,
                trigger=trigger,
                since=since,
                until=until,
                limit=limit,
                before=before,
            )
        )

    async def timeline(self, since: datetime, until: datetime, limit: int = 500) -> builtins.list[Run]:
        """Runs that were in work between two moments, the one that began last first."""
        return await self._writer.read(lambda db: run_search.runs_between(db, since, until, limit))

    async def next_pending(
        self,
        *,
        now: datetime | None = None,
        skip_agents: Collection[int] = (),
        held_agents: Collection[int] = (),
        only_by_hand: bool = False,
        at_most: Mapping[int, int] | None = None,
    ) -> Run | None:
        """The run that has been due for longest and may begin; those of paused agents wait, and those of `skip_agents`.

        Of `held_agents`, or with `only_by_hand` of all, only runs that somebody asked for are taken.
        `at_most`: how many runs of an agent may be in work side by side, one where it says nothing; without it nobody counts.
        """
        moment = now or self._clock.now()
        return await self._writer.read(
            lambda db: run_rows.next_pending_run(
                db,
                now=moment,
                skip_agents=skip_agents,
                held_agents=held_agents,
                only_by_hand=only_by_hand,
                at_most=at_most,
            )
        )

    async def next_not_before(self, after: datetime) -> datetime | None:
        """When the next pending run that has to wait may begin; None when none has to."""
        return await self._writer.read(lambda db: run_rows.earliest_not_before(db, after))

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
        followers: Sequence[NewOccurrence] = (),
    ) -> Run:
        """Ends a run together with its occurrence, its open step and its result, if it has one; `code` is a failure's.

        `followers` are announced in the same transaction; those whose (agent, key) exists already are left out.
        """
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: ledger.finish_run(
                db,
                run_id,
                status,
                reason=reason,
                code=code,
                result=result,
                followers=followers,
                now_us=now_us,
            )
        )

    async def retry_later(self, run_id: int, *, reason: str, not_before: datetime) -> Run:
        """Running becomes pending, to be tried again: this attempt counts as a failure, and its open step failed."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: ledger.retry_run_later(
                db, run_id, reason=reason, not_before_us=to_us(not_before), now_us=now_us
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

    async def unfinished(self, agent_id: int) -> builtins.list[Run]:
        """Runs that wait, are in work or wait for an answer, in the order in which they came due."""
        return await self._writer.read(lambda db: run_rows.unfinished_runs_of(db, agent_id))

    async def failures_in_a_row(self, agent_id: int) -> int:
        """Runs that failed since one had a result, and since the agent was changed or let run again."""
        return await self._writer.read(lambda db: run_rows.failures_in_a_row(db, agent_id))

    async def last_run(self, agent_id: int) -> Run | None:
        return await self._writer.read(lambda db: run_rows.last_run_of(db, agent_id))

    async def occurrence_of(self, run_id: int) -> Occurrence:
        return await self._writer.read(lambda db: occurrence_rows.occurrence_of_run(db, run_id))

    async def occurrence_files(self, occurrence_id: int) -> builtins.list[tuple[Path, str, int]]:
        """Path, hash and size in bytes of every version that its one run tells about; empty when it is about one file or none."""
        return await self._writer.read(lambda db: occurrence_rows.files_of(db, occurrence_id))

    # --- what the runs mean for files ---

    async def handled_elsewhere(self, agent_id: int, content_hash: str) -> builtins.list[Path]:
        """Where this agent has read that content before: a file of it under a new name was renamed or copied."""
        return await self._writer.read(lambda db: file_rows.paths_read(db, agent_id, content_hash))

    async def lost_versions(self, agent_id: int) -> set[tuple[Path, str]]:
        """Path and hash of what was gone when its run came, and was not read since: it is read if it is there again."""
        return await self._writer.read(lambda db: file_rows.lost_versions(db, agent_id))

    async def own_files(self, agent_id: int) -> set[tuple[Path, str]]:
        """Path and hash of every file that the agent wrote itself, or was about to write when its runtime died."""
        return await self._writer.read(lambda db: effect_rows.files_written(db, agent_id))

    # --- effects ---

    async def put_effect(
        self,
        run_id: int,
        key: str,
        kind: str,
        request: Any,
        *,
        path: Path | None = None,
        content_hash: str | None = None,
    ) -> Effect:
        """Stores what is about to be changed, before it is. A key that is there already comes back as an earlier attempt left it.

        `path` and `content_hash` (sha256, hex) are of the file that it writes, so that the file does not wake its own agent.
        """
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: effect_rows.put_effect(
                db, run_id, key, kind, request, path=path, content_hash=content_hash, now_us=now_us
            )
        )

    async def settle_effect(self, run_id: int, key: str, outcome: Any) -> Effect:
        """Stores how it went: any JSON value but null. A second, different outcome is a Conflict."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: effect_rows.settle_effect(db, run_id, key, outcome, now_us=now_us)
        )

    async def effects(self, run_id: int) -> builtins.list[Effect]:
        return await self._writer.read(lambda db: effect_rows.list_effects(db, run_id))

    # --- steps ---

    async def begin_step(self, run_id: int, *, key: str, kind: StepKind, title: str) -> Step:
        """Begins the step with that key, or returns it with its output when an earlier attempt finished it."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: step_rows.begin_step(db, run_id, key=key, kind=kind, title=title, now_us=now_us)
        )

    async def finish_step(
        self, step_id: int, *, output: Any, detail: str | None, usage: StepUsage, route: str | None = None
    ) -> Step:
        """Stores what a step made: any JSON value. `route` is where its model ran."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: step_rows.finish_step(
                db, step_id, output=output, detail=detail, usage=usage, route=route, now_us=now_us
            )
        )

    async def fail_step(self, step_id: int, *, status: StepStatus, error: str) -> Step:
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: step_rows.fail_step(db, step_id, status=status, error=error, now_us=now_us)
        )

    async def steps(self, run_id: int) -> builtins.list[Step]:
        return await self._writer.read(lambda db: step_rows.list_steps(db, run_id))

    async def lacks_outputs(self, run_id: int) -> bool:
        """Whether what a finished step of the run made was forgotten, to keep the history small."""
        return await self._writer.read(lambda db: step_rows.lacks_outputs(db, run_id))

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

    async def count_remembered(self, words: Sequence[str]) -> int:
        """How many results hold all of these words, whole, in their title, text or action items, in whichever case."""
        wanted = to_json([word for text in words for word in words_of(text)])
        newest = await self._writer.read(lambda db: int(scalar(db, NEWEST_REMEMBERED)))
        count = 0
        # In pieces, so that nobody waits for the whole.
        for start in range(0, newest + 1, REMEMBERED_AT_ONCE):
            piece = (wanted, start, start + REMEMBERED_AT_ONCE)
            count += await self._writer.read(partial(_count_remembered, piece))
        return count


def _count_remembered(piece: tuple[str, int, int], db: Database) -> int:
    return int(scalar(db, COUNT_REMEMBERED, piece))
