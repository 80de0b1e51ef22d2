"""The ledger's due times as the scheduler awaits them: planned, claimed, decided on."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from agents.clock import Clock
from agents.core import (
    FileState,
    GateOutcome,
    HeldBy,
    NewOccurrence,
    Occurrence,
    OccurrenceStatus,
    Owner,
    Run,
    Wakings,
)
from agents.storage import due_ledger, occurrence_rows
from agents.storage.run_rows import agent_ids_named, count_runs_since, count_unfinished, nth_newest_run
from agents.storage.values import to_us
from agents.storage.writer import Writer


class ScheduleStore:
    """Each method is one transaction. A change that a status or a fence does not allow is a Conflict that says why."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    def _now_us(self) -> int:
        return to_us(self._clock.now())

    # --- ahead of time ---

    async def plan(self, rows: Sequence[NewOccurrence]) -> int:
        """Inserts scheduled rows and returns how many; those whose (agent, key) exists are left as they are."""
        now_us = self._now_us()
        return await self._writer.write(lambda db: occurrence_rows.schedule_rows(db, rows, now_us=now_us))

    async def withdraw(self, agent_id: int, *, keep: Collection[str] = ()) -> int:
        """Deletes the agent's planned rows of timed triggers that are not due yet, except those of the trigger keys in `keep`."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: due_ledger.withdraw_rows(db, agent_id, keep=keep, now_us=now_us)
        )

    async def anchors(self) -> dict[tuple[int, str], datetime]:
        """(agent id, trigger key) of timed triggers, with the due time of the newest row of whatever status."""
        return await self._writer.read(occurrence_rows.newest_dues)

    async def armed(self, agent_id: int | None = None) -> builtins.list[Occurrence]:
        """Scheduled rows, by due time."""
        return await self._writer.read(lambda db: occurrence_rows.scheduled(db, agent_id))

    async def next_due(self) -> datetime | None:
        """The earliest scheduled row of agents that are neither paused nor removed."""
        return await self._writer.read(occurrence_rows.earliest_due)

    # --- due ---

    async def due(self, now: datetime, *, limit: int) -> builtins.list[Occurrence]:
        """Scheduled rows that are due, of agents that are neither paused nor removed, oldest first."""
        return await self._writer.read(lambda db: occurrence_rows.due_by(db, now, limit))

    async def claim(
        self, ids: Sequence[int], *, owner: Owner, plan: Sequence[NewOccurrence]
    ) -> builtins.list[Occurrence]:
        """Takes those of `ids` that are still scheduled, oldest first, with their new fence; plans the next ones with them."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: due_ledger.claim_rows(db, ids, owner=str(owner), planned=plan, now_us=now_us)
        )

    async def admit(
        self,
        occurrence_id: int,
        *,
        fence: int,
        gates: Sequence[GateOutcome],
        not_before: datetime | None = None,
    ) -> Run:
        """A claimed row becomes a pending run; its gates' outcomes and what they saw are kept.

        Conflict when the claim does not hold any more, NotFound when the agent was removed.
        """
        now_us = self._now_us()
        not_before_us = None if not_before is None else to_us(not_before)
        return await self._writer.write(
            lambda db: due_ledger.admit_occurrence(
                db, occurrence_id, fence=fence, gates=gates, not_before_us=not_before_us, now_us=now_us
            )
        )

    async def end(
        self,
        occurrence_id: int,
        *,
        fence: int,
        status: OccurrenceStatus,
        reason: str,
        gates: Sequence[GateOutcome] = (),
    ) -> Occurrence:
        """A claimed row ends as missed, skipped or cancelled; Conflict when the claim does not hold any more."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: due_ledger.end_occurrence(
                db, occurrence_id, fence=fence, status=status, reason=reason, gates=gates, now_us=now_us
            )
        )

    async def put_off(
        self, occurrence_id: int, *, fence: int, until: datetime, held_by: HeldBy, reason: str
    ) -> Occurrence:
        """A claimed row waits until then, or until it is released; Conflict when the claim does not hold any more."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: due_ledger.put_off_occurrence(
                db,
                occurrence_id,
                fence=fence,
                until_us=to_us(until),
                held_by=held_by,
                reason=reason,
                now_us=now_us,
            )
        )

    async def release(self, *, agent_id: int | None = None, held_by: HeldBy | None = None) -> int:
        """What is held is due now: of one agent or of all, for one cause or for any. Returns how many."""
        return await self._writer.write(
            lambda db: due_ledger.release_rows(db, agent_id=agent_id, held_by=held_by)
        )

    async def take_back_future(self) -> int:
        """After the clock was set back: missed rows that lie ahead now give up their keys, so that their due times can be planned.

        What was announced under the wrong time is due now. Returns how many keys were given up.
        """
        now_us = self._now_us()
        return await self._writer.write(lambda db: due_ledger.take_back_future(db, now_us=now_us))

    async def held(self, agent_id: int) -> builtins.list[Occurrence]:
        """What happened for the agent and waits, the row that is looked at next first."""
        return await self._writer.read(lambda db: occurrence_rows.held_rows(db, agent_id))

    async def record_missed(self, rows: Sequence[tuple[NewOccurrence, str]]) -> int:
        """Inserts rows that are born missed, each with its reason; returns how many, without those that exist already."""
        now_us = self._now_us()
        return await self._writer.write(lambda db: due_ledger.miss_rows(db, rows, now_us=now_us))

    async def announce(
        self,
        new: NewOccurrence,
        *,
        file_states: Sequence[FileState] = (),
        files: Sequence[tuple[Path, str, int]] = (),
    ) -> Occurrence | None:
        """Inserts what an event made due, and what is known of its files; None when (agent, key) exists already.

        `files` are the versions that one run will tell about: path, hash, size in bytes.
        """
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: due_ledger.announce_row(db, new, file_states=file_states, files=files, now_us=now_us)
        )

    async def recover(
        self, owner: Owner, *, in_hand: Collection[int] | None = None
    ) -> builtins.list[Occurrence]:
        """What another runtime had claimed is scheduled again; with `in_hand`, so is what this one claimed and is not in it."""
        now_us = self._now_us()
        return await self._writer.write(
            lambda db: due_ledger.recover_rows(db, str(owner), in_hand=in_hand, now_us=now_us)
        )

    # --- what decisions need ---

    async def gate_states(self, agent_id: int) -> dict[str, str]:
        """By gate key, what the gate saw when it last let a run through."""
        return await self._writer.read(lambda db: occurrence_rows.gate_states_of(db, agent_id))

    async def unfinished_runs(self, agent_id: int) -> int:
        """Runs that wait, are in work or wait for an answer."""
        return await self._writer.read(lambda db: count_unfinished(db, agent_id))

    async def runs_since(self, agent_id: int | None, since: datetime) -> int:
        """Runs that came into being since then, of one agent or of the whole house."""
        return await self._writer.read(lambda db: count_runs_since(db, agent_id, since))

    async def nth_newest_run(self, agent_id: int | None, n: int) -> datetime | None:
        """When the nth newest run came into being, of one agent or of the whole house; None when there are fewer."""
        return await self._writer.read(lambda db: nth_newest_run(db, agent_id, n))

    async def overdue(self, before: datetime) -> int:
        """Scheduled rows that were due before then, of agents that are neither paused nor removed."""
        return await self._writer.read(lambda db: occurrence_rows.count_overdue(db, before))

    # --- to look at ---

    async def get(self, occurrence_id: int) -> Occurrence:
        return await self._writer.read(lambda db: occurrence_rows.get_occurrence(db, occurrence_id))

    async def find(self, agent_id: int, key: str) -> Occurrence | None:
        """What was announced or planned with that key; None where there is nothing, or it was forgotten."""
        return await self._writer.read(lambda db: occurrence_rows.find_occurrence(db, agent_id, key))

    async def gate_rows(self, occurrence_id: int) -> builtins.list[GateOutcome]:
        """What each gate said, in the order in which they were asked."""
        return await self._writer.read(lambda db: occurrence_rows.gate_rows_of(db, occurrence_id))

    async def wakings(self, agent_id: int) -> Wakings:
        """How often triggers woke the agent, ever, and how often that ended without a run."""
        return await self._writer.read(lambda db: due_ledger.wakings_of(db, agent_id))

    async def list(
        self,
        *,
        agent: str | None = None,
        status: OccurrenceStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> builtins.list[Occurrence]:
        """Newest rows first; `since` and `until` (not included) are of the due time, `before` is the id that the last page ended with."""

        def job(db: Database) -> list[Occurrence]:
            return occurrence_rows.list_occurrences(
                db,
                agent_ids=None if agent is None else agent_ids_named(db, agent),
                status=status,
                since=since,
                until=until,
                limit=limit,
                before=before,
            )

        return await self._writer.read(job)
