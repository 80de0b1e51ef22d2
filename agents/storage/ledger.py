"""How a run comes into being, is worked on, given back, tried again and ended, together with its occurrence.

Runs in: store thread, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlite_utils import Database

from agents.core import (
    FILE_GONE,
    FileState,
    NewOccurrence,
    NewResult,
    OccurrenceStatus,
    Run,
    RunStatus,
    StepStatus,
)
from agents.errors import NotFound
from agents.storage.budget_store import settle_lost
from agents.storage.driver import Row, insert, row, rows
from agents.storage.file_store import put_file_state
from agents.storage.moves import move_run, run_conflict
from agents.storage.occurrence_rows import insert_occurrence, put_files, schedule_rows
from agents.storage.run_rows import get_run
from agents.storage.step_rows import close_open_steps
from agents.storage.values import to_json, to_name, to_text, to_us
from agents.triggers import TriggerKind

CANCELLED = "Cancelled."
AGENT_REMOVED = "Its agent was removed."


def record_occurrence(
    db: Database,
    new: NewOccurrence,
    *,
    file_states: Sequence[FileState] = (),
    files: Sequence[tuple[Path, str, int]] = (),
    revision_id: int | None = None,
    retry_of: int | None = None,
    replay_of: int | None = None,
    now_us: int,
) -> Run | None:
    """Stores an occurrence with its pending run; None when this agent has one with that key already.

    The files' states are stored in each case: the files are known now.
    """
    revision_id = revision_id or current_revision(db, new.agent_id)
    for state in file_states:
        put_file_state(db, new.agent_id, state)
    give_up_key(db, new.agent_id, new.key)
    occurrence_id = insert_occurrence(db, new, OccurrenceStatus.PENDING, now_us=now_us)
    if occurrence_id is None:
        return None
    put_files(db, occurrence_id, files)
    if new.trigger is not TriggerKind.MANUAL:
        count_waking(db, new.agent_id)
    run_id = insert_run(
        db,
        new.agent_id,
        occurrence_id=occurrence_id,
        revision_id=revision_id,
        due_us=to_us(new.due_at),
        retry_of=retry_of,
        replay_of=replay_of,
        now_us=now_us,
    )
    return get_run(db, run_id)


def current_revision(db: Database, agent_id: int) -> int:
    """What a run of the agent is to follow; NotFound when it was removed."""
    found = row(
        db,
        """
        SELECT r.id FROM agents a JOIN agent_revisions r ON r.agent_id = a.id AND r.number = a.revision
        WHERE a.id = ? AND a.removed_us IS NULL
        """,
        (agent_id,),
    )
    if found is None:
        raise NotFound(f"There is no agent with the id {agent_id}; it may have been removed.")
    return int(found["id"])


def give_up_key(db: Database, agent_id: int, key: str) -> None:
    """An occurrence whose file was gone when its run came was never read: it stays as it ended, but its key is free again."""
    earlier = row(
        db,
        """
        SELECT o.id, r.error_code FROM occurrences o JOIN runs r ON r.occurrence_id = o.id
        WHERE o.agent_id = ? AND o.key = ?
        """,
        (agent_id, to_name(key)),
    )
    if earlier is not None and earlier["error_code"] == FILE_GONE:
        rename_key(db, earlier["id"], f"{key}:gone:{earlier['id']}")


def rename_key(db: Database, occurrence_id: int, key: str) -> None:
    """Under another key the row stays as it ended, and what it stood for can come again."""
    db.execute("UPDATE occurrences SET key = ? WHERE id = ?", (to_name(key), occurrence_id))


def insert_run(
    db: Database,
    agent_id: int,
    *,
    occurrence_id: int,
    revision_id: int,
    due_us: int,
    not_before_us: int | None = None,
    retry_of: int | None = None,
    replay_of: int | None = None,
    now_us: int,
) -> int:
    """The pending run of an occurrence that is pending."""
    values: Row = {
        "occurrence_id": occurrence_id,
        "agent_id": agent_id,
        "revision_id": revision_id,
        "due_us": due_us,
        "status": RunStatus.PENDING,
        "not_before_us": not_before_us,
        "retry_of": retry_of,
        "replay_of": replay_of,
        "created_us": now_us,
    }
    return insert(db, "runs", values)


def count_waking(db: Database, agent_id: int, *, free: bool = False) -> None:
    """Counts that a trigger woke the agent, and whether that ended without a run, so that nothing was spent."""
    db.execute(
        "UPDATE agents SET woken = woken + 1, woken_free = woken_free + ? WHERE id = ?", (int(free), agent_id)
    )


def begin_run(db: Database, run_id: int, *, owner: str, model: str, now_us: int) -> Run:
    move_run(db, get_run(db, run_id), RunStatus.RUNNING, now_us=now_us, owner=owner)
    db.execute("UPDATE runs SET attempt = attempt + 1, model = ? WHERE id = ?", (to_text(model), run_id))
    return get_run(db, run_id)


def give_back_run(db: Database, run_id: int, *, now_us: int) -> Run:
    """Running becomes pending, to be begun again by a later runtime; a removed agent's run ends as cancelled instead."""
    move_run(db, get_run(db, run_id), RunStatus.PENDING, now_us=now_us)
    close_open_steps(db, run_id, StepStatus.INTERRUPTED, error=None, now_us=now_us)
    return _unless_removed(db, run_id, now_us=now_us)


def retry_run_later(db: Database, run_id: int, *, reason: str, not_before_us: int, now_us: int) -> Run:
    """Running becomes pending: this attempt failed, and another follows. A removed agent's run ends as cancelled instead."""
    if not reason:
        raise ValueError("a run that is tried again needs a reason")
    run = get_run(db, run_id)
    if run.status is not RunStatus.RUNNING:
        raise run_conflict(run, RunStatus.PENDING)
    move_run(db, run, RunStatus.PENDING, reason=reason, not_before_us=not_before_us, now_us=now_us)
    db.execute("UPDATE runs SET failures = failures + 1 WHERE id = ?", (run_id,))
    close_open_steps(db, run_id, StepStatus.FAILED, error=reason, now_us=now_us)
    return _unless_removed(db, run_id, now_us=now_us)


def _unless_removed(db: Database, run_id: int, *, now_us: int) -> Run:
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
    followers: Sequence[NewOccurrence] = (),
    now_us: int,
) -> Run:
    """Ends a running run together with its occurrence, its open step and, when it has one, its result.

    `code` is the stable name of the error that a failed run ended with. `followers` are what its end makes due for other agents:
    those of removed agents, and those that exist already, are left out.
    """
    if not status.is_final:
        raise ValueError(f"a run does not finish as {status}")
    if status is not RunStatus.UNVERIFIED and (result is not None) != (status is RunStatus.SUCCEEDED):
        raise ValueError("a run that succeeded has a result, one that failed or was cancelled has none")
    if status in (RunStatus.FAILED, RunStatus.UNVERIFIED) and not reason:
        raise ValueError(f"a run that ends as {status} needs a reason")
    if code is not None and status is not RunStatus.FAILED:
        raise ValueError("only a failed run has a code")
    run = get_run(db, run_id)
    if run.status is not RunStatus.RUNNING:
        raise run_conflict(run, status)
    if status is RunStatus.CANCELLED:
        reason = reason or CANCELLED
    move_run(db, run, status, reason=reason, now_us=now_us)
    db.execute("UPDATE runs SET error_code = ? WHERE id = ?", (code, run_id))
    close_open_steps(db, run_id, _STEP_END[status], error=reason, now_us=now_us)
    if result is not None:
        _insert_result(db, run, result, now_us=now_us)
    schedule_rows(db, followers, now_us=now_us)
    return get_run(db, run_id)


def cancel_pending_run(db: Database, run_id: int, reason: str, *, now_us: int) -> Run:
    run = get_run(db, run_id)
    if run.status not in (RunStatus.PENDING, RunStatus.WAITING):
        raise run_conflict(run, RunStatus.CANCELLED)
    move_run(db, run, RunStatus.CANCELLED, reason=reason or CANCELLED, now_us=now_us)
    return get_run(db, run_id)


def cancel_pending_of(db: Database, agent_id: int, *, now_us: int) -> None:
    """Cancels every run of an agent that was removed, but those in work."""
    waiting = "SELECT id FROM runs WHERE agent_id = ? AND status IN ('pending', 'waiting_for_approval')"
    for found in rows(db, waiting, (agent_id,)):
        cancel_pending_run(db, found["id"], AGENT_REMOVED, now_us=now_us)


def recover_runs(db: Database, owner: str, *, now_us: int) -> list[Run]:
    """Gives back every run that another runtime was working on when it ended."""
    found = rows(db, "SELECT id FROM runs WHERE status = 'running' AND owner <> ? ORDER BY id", (owner,))
    for values in found:
        settle_lost(db, values["id"])
    return [give_back_run(db, values["id"], now_us=now_us) for values in found]


_STEP_END = {
    RunStatus.SUCCEEDED: StepStatus.SUCCEEDED,
    RunStatus.UNVERIFIED: StepStatus.FAILED,
    RunStatus.FAILED: StepStatus.FAILED,
    RunStatus.CANCELLED: StepStatus.INTERRUPTED,
}


def _insert_result(db: Database, run: Run, result: NewResult, *, now_us: int) -> None:
    values: Row = {
        "run_id": run.id,
        "agent_id": run.agent_id,
        "title": to_text(result.title),
        "summary": to_text(result.summary),
        "action_items": to_json([to_text(item) for item in result.action_items]),
        "category": to_text(result.category),
        "created_us": now_us,
    }
    insert(db, "results", values)
