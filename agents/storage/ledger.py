"""How an occurrence and its run come into being, move and end: every change of a run's status is made here.

Runs in: store thread, inside the caller's transaction. `_move` is the only writer of a status, and follows RUN_TRANSITIONS.
"""

from __future__ import annotations

from sqlite_utils import Database

from agents.core import (
    FILE_GONE,
    RUN_TRANSITIONS,
    FileState,
    NewOccurrence,
    NewResult,
    Run,
    RunStatus,
    StepStatus,
)
from agents.errors import Conflict, NotFound
from agents.storage.driver import Row, insert, row, rows
from agents.storage.file_store import put_file_state
from agents.storage.run_rows import get_run
from agents.storage.step_rows import close_open_steps
from agents.storage.values import to_json, to_name, to_path, to_text, to_text_or_none, to_us

CANCELLED = "Cancelled."
AGENT_REMOVED = "Its agent was removed."


def record_occurrence(
    db: Database, new: NewOccurrence, *, file_state: FileState | None, now_us: int
) -> Run | None:
    """Stores an occurrence with its pending run; None when this agent has one with that key already.

    One whose file was gone when its run came was never read: it stays as it ended, but gives up its key to this one.
    The file's state is stored in each case: the file is known now.
    """
    agent = row(
        db,
        """
        SELECT r.id AS revision_id FROM agents a
        JOIN agent_revisions r ON r.agent_id = a.id AND r.number = a.revision
        WHERE a.id = ? AND a.removed_us IS NULL
        """,
        (new.agent_id,),
    )
    if agent is None:
        raise NotFound(f"There is no agent with the id {new.agent_id}; it may have been removed.")
    if file_state is not None:
        put_file_state(db, new.agent_id, file_state)
    key = to_name(new.key)
    earlier = row(
        db,
        """
        SELECT o.id, r.error_code FROM occurrences o JOIN runs r ON r.occurrence_id = o.id
        WHERE o.agent_id = ? AND o.key = ?
        """,
        (new.agent_id, key),
    )
    if earlier is not None:
        if earlier["error_code"] != FILE_GONE:
            return None
        given_up = to_name(f"{new.key}:gone:{earlier['id']}")
        db.execute("UPDATE occurrences SET key = ? WHERE id = ?", (given_up, earlier["id"]))
    occurrence: Row = {
        "agent_id": new.agent_id,
        "trigger": new.trigger,
        "key": key,
        "due_us": to_us(new.due_at),
        "path": to_path(new.path),
        "content_hash": new.content_hash,
        "size_bytes": new.size_bytes,
        "status": RunStatus.PENDING,
        "created_us": now_us,
    }
    run: Row = {
        "occurrence_id": insert(db, "occurrences", occurrence),
        "agent_id": new.agent_id,
        "revision_id": agent["revision_id"],
        "status": RunStatus.PENDING,
        "created_us": now_us,
    }
    return get_run(db, insert(db, "runs", run))


def begin_run(db: Database, run_id: int, *, owner: str, model: str, now_us: int) -> Run:
    _move(db, get_run(db, run_id), RunStatus.RUNNING, now_us=now_us, owner=owner)
    db.execute("UPDATE runs SET attempt = attempt + 1, model = ? WHERE id = ?", (to_text(model), run_id))
    return get_run(db, run_id)


def give_back_run(db: Database, run_id: int, *, now_us: int) -> Run:
    """Running becomes pending, to be begun again by a later runtime; a removed agent's run ends as cancelled instead."""
    _move(db, get_run(db, run_id), RunStatus.PENDING, now_us=now_us)
    close_open_steps(db, run_id, StepStatus.INTERRUPTED, error=None, now_us=now_us)
    agent = row(
        db, "SELECT a.removed_us FROM runs r JOIN agents a ON a.id = r.agent_id WHERE r.id = ?", (run_id,)
    )
    if agent is not None and agent["removed_us"] is not None:
        return cancel_pending_run(db, run_id, AGENT_REMOVED, now_us=now_us)
    return get_run(db, run_id)


def finish_run(
    db: Database,
    run_id: int,
    status: RunStatus,
    *,
    reason: str | None,
    code: str | None = None,
    result: NewResult | None,
    now_us: int,
) -> Run:
    """Ends a running run together with its occurrence, its open step and, when it succeeded, its result.

    `code` is the stable name of the error that a failed run ended with.
    """
    if not status.is_final:
        raise ValueError(f"a run does not finish as {status}")
    if (result is not None) != (status is RunStatus.SUCCEEDED):
        raise ValueError("a run has a result exactly when it succeeded")
    if status is RunStatus.FAILED and not reason:
        raise ValueError("a failed run needs a reason")
    if code is not None and status is not RunStatus.FAILED:
        raise ValueError("only a failed run has a code")
    run = get_run(db, run_id)
    if run.status is not RunStatus.RUNNING:
        raise _conflict(run, status)
    if status is RunStatus.CANCELLED:
        reason = reason or CANCELLED
    _move(db, run, status, reason=reason, now_us=now_us)
    db.execute("UPDATE runs SET error_code = ? WHERE id = ?", (code, run_id))
    close_open_steps(db, run_id, _STEP_END[status], error=reason, now_us=now_us)
    if result is not None:
        _insert_result(db, run_id, result, now_us=now_us)
    return get_run(db, run_id)


def cancel_pending_run(db: Database, run_id: int, reason: str, *, now_us: int) -> Run:
    run = get_run(db, run_id)
    if run.status is not RunStatus.PENDING:
        raise _conflict(run, RunStatus.CANCELLED)
    _move(db, run, RunStatus.CANCELLED, reason=reason or CANCELLED, now_us=now_us)
    return get_run(db, run_id)


def cancel_pending_of(db: Database, agent_id: int, *, now_us: int) -> None:
    """Cancels every pending run of an agent that was removed."""
    for found in rows(db, "SELECT id FROM runs WHERE agent_id = ? AND status = 'pending'", (agent_id,)):
        cancel_pending_run(db, found["id"], AGENT_REMOVED, now_us=now_us)


def recover_runs(db: Database, owner: str, *, now_us: int) -> list[Run]:
    """Gives back every run that another runtime was working on when it ended."""
    found = rows(db, "SELECT id FROM runs WHERE status = 'running' AND owner <> ? ORDER BY id", (owner,))
    return [give_back_run(db, values["id"], now_us=now_us) for values in found]


_STEP_END = {
    RunStatus.SUCCEEDED: StepStatus.SUCCEEDED,
    RunStatus.FAILED: StepStatus.FAILED,
    RunStatus.CANCELLED: StepStatus.INTERRUPTED,
}


def _move(
    db: Database,
    run: Run,
    target: RunStatus,
    *,
    now_us: int,
    owner: str | None = None,
    reason: str | None = None,
) -> None:
    """Moves a run and its occurrence to another status, or raises Conflict."""
    if target not in RUN_TRANSITIONS[run.status]:
        raise _conflict(run, target)
    reason = to_text_or_none(reason)
    started_us = {
        RunStatus.RUNNING: now_us,  # of this attempt
        RunStatus.PENDING: None,
    }.get(target, None if run.started_at is None else to_us(run.started_at))
    db.execute(
        "UPDATE runs SET status = ?, reason = ?, owner = ?, started_us = ?, finished_us = ? WHERE id = ?",
        (target, reason, owner, started_us, now_us if target.is_final else None, run.id),
    )
    db.execute(
        "UPDATE occurrences SET status = ?, reason = ? WHERE id = ?", (target, reason, run.occurrence_id)
    )


def _conflict(run: Run, target: RunStatus) -> Conflict:
    return Conflict(f"Run {run.id} is {run.status}; it can't become {target}.")


def _insert_result(db: Database, run_id: int, result: NewResult, *, now_us: int) -> None:
    values: Row = {
        "run_id": run_id,
        "title": to_text(result.title),
        "summary": to_text(result.summary),
        "action_items": to_json([to_text(item) for item in result.action_items]),
        "category": to_text(result.category),
        "created_us": now_us,
    }
    insert(db, "results", values)
