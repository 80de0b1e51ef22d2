"""The only writers of a status: how due times and runs move, along the tables of their state machines.

Runs in: store thread, inside the caller's transaction.
"""

from __future__ import annotations

from sqlite_utils import Database

from agents.core import OCCURRENCE_TRANSITIONS, RUN_TRANSITIONS, HeldBy, OccurrenceStatus, Run, RunStatus
from agents.errors import Conflict
from agents.storage.values import to_text_or_none, to_us


def move_run(
    db: Database,
    run: Run,
    target: RunStatus,
    *,
    now_us: int,
    owner: str | None = None,
    reason: str | None = None,
    not_before_us: int | None = None,
) -> None:
    """Moves a run and its occurrence to another status, or raises Conflict."""
    if target not in RUN_TRANSITIONS[run.status]:
        raise run_conflict(run, target)
    reason = to_text_or_none(reason)
    started_us = {
        RunStatus.RUNNING: now_us,  # of this attempt
        RunStatus.PENDING: None,
    }.get(target, None if run.started_at is None else to_us(run.started_at))
    db.execute(
        """
        UPDATE runs SET status = ?, reason = ?, owner = ?, started_us = ?, finished_us = ?, not_before_us = ? WHERE id = ?
        """,
        (target, reason, owner, started_us, now_us if target.is_final else None, not_before_us, run.id),
    )
    # The words of both are the same: an occurrence with a run stands where its run stands.
    db.execute(
        "UPDATE occurrences SET status = ?, reason = ? WHERE id = ?", (target, reason, run.occurrence_id)
    )


def run_conflict(run: Run, target: RunStatus) -> Conflict:
    return Conflict(f"Run {run.id} is {run.status}; it can't become {target}.")


def move_occurrence(
    db: Database,
    occurrence_id: int,
    current: OccurrenceStatus,
    target: OccurrenceStatus,
    *,
    owner: str | None = None,
    reason: str | None = None,
    held_until_us: int | None = None,
    held_by: HeldBy | None = None,
    now_us: int,
) -> None:
    """Moves an occurrence that has no run yet, or raises Conflict. `current` is what the caller has just read.

    Being claimed gives it an owner and a greater fence. One that is scheduled again may be held.
    """
    if target not in OCCURRENCE_TRANSITIONS.get(current, frozenset()):
        raise occurrence_conflict(occurrence_id, current, target)
    claims = int(target is OccurrenceStatus.CLAIMED)
    db.execute(
        """
        UPDATE occurrences SET status = :status, reason = :reason, owner = :owner, fence = fence + :claims,
            claimed_us = iif(:claims, :now, claimed_us), held_until_us = :held_until, held_by = :held_by
        WHERE id = :id
        """,
        {
            "status": target,
            "reason": to_text_or_none(reason),
            "owner": owner,
            "claims": claims,
            "held_until": held_until_us,
            "held_by": held_by,
            "now": now_us,
            "id": occurrence_id,
        },
    )


def occurrence_conflict(occurrence_id: int, current: OccurrenceStatus, target: OccurrenceStatus) -> Conflict:
    return Conflict(f"Due time {occurrence_id} is {current}; it can't become {target}.")
