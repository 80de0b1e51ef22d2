"""How a due time comes into being, is claimed, and becomes a run or ends without one.

Runs in: store thread, inside the caller's transaction. A fence is the number of a claim: a decision that was made under an older one
is a Conflict and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from sqlite_utils import Database

from agents.core import (
    FileState,
    GateOutcome,
    HeldBy,
    NewOccurrence,
    Occurrence,
    OccurrenceStatus,
    Run,
    Wakings,
)
from agents.errors import Conflict, NotFound
from agents.storage.driver import row, rows
from agents.storage.file_store import put_file_state
from agents.storage.ledger import (
    AGENT_REMOVED,
    count_waking,
    current_revision,
    give_up_key,
    insert_run,
    rename_key,
)
from agents.storage.moves import move_occurrence, occurrence_conflict
from agents.storage.occurrence_rows import (
    get_occurrence,
    get_occurrences,
    insert_occurrence,
    put_files,
    put_gate_rows,
    put_gate_states,
    schedule_rows,
)
from agents.storage.run_rows import get_run
from agents.storage.values import from_name, to_us
from agents.triggers import TriggerKind

_ENDS_WITHOUT_RUN = frozenset({OccurrenceStatus.MISSED, OccurrenceStatus.SKIPPED, OccurrenceStatus.CANCELLED})
_TIMED = "('cron', 'interval', 'once')"
_UNTRUE = ":untrue:"  # in a key that was given up: its time has not come
LONGEST_WAIT_US = 8 * 3_600 * 1_000_000  # no run waits longer than that for its next try


def withdraw_rows(db: Database, agent_id: int, *, keep: Collection[str], now_us: int) -> int:
    """Deletes what was planned for later than now; nothing was promised. What an event announced stays."""
    cursor = db.execute(
        f"""
        DELETE FROM occurrences WHERE agent_id = ? AND status = 'scheduled' AND due_us > ? AND trigger IN {_TIMED}
            AND (trigger_key IS NULL OR trigger_key NOT IN (SELECT value FROM json_each(?)))
        """,  # noqa: S608
        (agent_id, now_us, json.dumps(list(keep))),
    )
    return int(cursor.rowcount)


def claim_rows(
    db: Database, ids: Collection[int], *, owner: str, planned: Sequence[NewOccurrence], now_us: int
) -> list[Occurrence]:
    """Takes what is still scheduled, of agents that may work, and plans what comes next. Returns it with its new fences."""
    found = rows(
        db,
        """
        SELECT o.id FROM occurrences o JOIN agents a ON a.id = o.agent_id
        WHERE o.id IN (SELECT value FROM json_each(?)) AND o.status = 'scheduled' AND a.paused = 0 AND a.removed_us IS NULL
        """,
        (json.dumps(list(ids)),),
    )
    taken = [int(values["id"]) for values in found]
    for occurrence_id in taken:
        move_occurrence(
            db,
            occurrence_id,
            OccurrenceStatus.SCHEDULED,
            OccurrenceStatus.CLAIMED,
            owner=owner,
            now_us=now_us,
        )
    schedule_rows(db, planned, now_us=now_us)
    return get_occurrences(db, taken)


def admit_occurrence(
    db: Database,
    occurrence_id: int,
    *,
    fence: int,
    gates: Sequence[GateOutcome],
    not_before_us: int | None,
    now_us: int,
) -> Run:
    """A claimed due time becomes a pending run of its agent's current revision; what its gates saw is kept."""
    occurrence = _claimed_row(db, occurrence_id, fence, OccurrenceStatus.PENDING)
    revision_id = current_revision(db, occurrence.agent_id)
    move_occurrence(db, occurrence_id, occurrence.status, OccurrenceStatus.PENDING, now_us=now_us)
    put_gate_rows(db, occurrence_id, gates, now_us=now_us)
    put_gate_states(db, occurrence.agent_id, gates, now_us=now_us)
    if occurrence.trigger is not TriggerKind.MANUAL:
        count_waking(db, occurrence.agent_id)
    run_id = insert_run(
        db,
        occurrence.agent_id,
        occurrence_id=occurrence_id,
        revision_id=revision_id,
        due_us=to_us(occurrence.due_at),
        not_before_us=not_before_us,
        now_us=now_us,
    )
    return get_run(db, run_id)


def end_occurrence(
    db: Database,
    occurrence_id: int,
    *,
    fence: int,
    status: OccurrenceStatus,
    reason: str,
    gates: Sequence[GateOutcome],
    now_us: int,
) -> Occurrence:
    """A claimed due time ends without a run."""
    if status not in _ENDS_WITHOUT_RUN or not reason:
        raise ValueError("a due time without a run ends as missed, skipped or cancelled, with a reason")
    occurrence = _claimed_row(db, occurrence_id, fence, status)
    move_occurrence(db, occurrence_id, occurrence.status, status, reason=reason, now_us=now_us)
    put_gate_rows(db, occurrence_id, gates, now_us=now_us)
    if status is OccurrenceStatus.SKIPPED and occurrence.trigger is not TriggerKind.MANUAL:
        count_waking(db, occurrence.agent_id, free=True)
    return get_occurrence(db, occurrence_id)


def put_off_occurrence(
    db: Database, occurrence_id: int, *, fence: int, until_us: int, held_by: HeldBy, reason: str, now_us: int
) -> Occurrence:
    """A claimed due time waits; it is claimed again at `until_us`, or once it is released."""
    if not reason:
        raise ValueError("a due time that is put off needs a reason")
    occurrence = _claimed_row(db, occurrence_id, fence, OccurrenceStatus.SCHEDULED)
    move_occurrence(
        db,
        occurrence_id,
        occurrence.status,
        OccurrenceStatus.SCHEDULED,
        reason=reason,
        held_until_us=until_us,
        held_by=held_by,
        now_us=now_us,
    )
    return get_occurrence(db, occurrence_id)


def release_rows(db: Database, *, agent_id: int | None, held_by: HeldBy | None) -> int:
    """What waits is to be looked at now: of one agent or all, for one cause or any."""
    cursor = db.execute(
        """
        UPDATE occurrences SET held_until_us = NULL, held_by = NULL, reason = NULL
        WHERE held_until_us IS NOT NULL AND (:agent IS NULL OR agent_id = :agent) AND (:by IS NULL OR held_by = :by)
        """,
        {"agent": agent_id, "by": held_by},
    )
    return int(cursor.rowcount)


def miss_rows(db: Database, missed: Sequence[tuple[NewOccurrence, str]], *, now_us: int) -> int:
    """Inserts due times that nobody was there for; those that have a row already are left to it."""
    inserted = [
        insert_occurrence(db, new, OccurrenceStatus.MISSED, reason=reason, now_us=now_us)
        for new, reason in missed
    ]
    return sum(id_ is not None for id_ in inserted)


def announce_row(
    db: Database,
    new: NewOccurrence,
    *,
    file_states: Sequence[FileState] = (),
    files: Sequence[tuple[Path, str, int]] = (),
    now_us: int,
) -> Occurrence | None:
    """Something happened: it is due now, and waits to be claimed. None when this agent has that key already.

    The files' states are stored in each case, as by record_occurrence.
    """
    current_revision(db, new.agent_id)
    for state in file_states:
        put_file_state(db, new.agent_id, state)
    give_up_key(db, new.agent_id, new.key)
    occurrence_id = insert_occurrence(db, new, OccurrenceStatus.SCHEDULED, now_us=now_us)
    if occurrence_id is None:
        return None
    put_files(db, occurrence_id, files)
    return get_occurrence(db, occurrence_id)


def recover_rows(
    db: Database, owner: str, *, in_hand: Collection[int] | None = None, now_us: int
) -> list[Occurrence]:
    """What another runtime had claimed and not decided waits to be claimed again; so does what `owner` has lost hold of."""
    found = rows(db, "SELECT id, owner FROM occurrences WHERE status = 'claimed'")
    held = None if in_hand is None else set(in_hand)
    ids = [
        int(values["id"])
        for values in found
        if values["owner"] != owner or (held is not None and values["id"] not in held)
    ]
    for occurrence_id in ids:
        move_occurrence(
            db, occurrence_id, OccurrenceStatus.CLAIMED, OccurrenceStatus.SCHEDULED, now_us=now_us
        )
    return get_occurrences(db, ids)


def drop_rows_of(db: Database, agent_id: int, *, now_us: int) -> None:
    """The agent was removed: what was planned goes, what was due or announced ends, whoever holds it."""
    withdraw_rows(db, agent_id, keep=(), now_us=now_us)
    open_rows = "SELECT id, status FROM occurrences WHERE agent_id = ? AND status IN ('scheduled', 'claimed')"
    for found in rows(db, open_rows, (agent_id,)):
        current = OccurrenceStatus(found["status"])
        end = {OccurrenceStatus.CLAIMED: OccurrenceStatus.CANCELLED}.get(current, OccurrenceStatus.MISSED)
        move_occurrence(db, found["id"], current, end, reason=AGENT_REMOVED, now_us=now_us)
    db.execute("DELETE FROM gate_states WHERE agent_id = ?", (agent_id,))


def take_back_future(db: Database, *, now_us: int) -> int:
    """The clock was set back: what came of a time that was never there must not stand in the way of when it truly comes.

    Due times that ended as missed and lie ahead again give up their keys, so that they can be planned anew; what happened then is
    due now; and no run waits longer for its next try than it would have from now on. Returns how many keys were given up.
    """
    missed = rows(
        db,
        f"""
        SELECT id, key FROM occurrences INDEXED BY occurrences_by_due
        WHERE due_us > ? AND status = 'missed' AND trigger IN {_TIMED} AND key NOT LIKE ?
        """,  # noqa: S608
        (now_us, f"%{_UNTRUE}%"),
    )
    for found in missed:
        rename_key(db, found["id"], f"{from_name(found['key'])}{_UNTRUE}{found['id']}")
    happened = f"status = 'scheduled' AND due_us > :now AND trigger NOT IN {_TIMED}"
    db.execute(f"UPDATE occurrences SET due_us = :now WHERE {happened}", {"now": now_us})  # noqa: S608
    latest_us = now_us + LONGEST_WAIT_US
    db.execute(
        "UPDATE runs SET not_before_us = :latest WHERE status = 'pending' AND not_before_us > :latest",
        {"latest": latest_us},
    )
    return len(missed)


def wakings_of(db: Database, agent_id: int) -> Wakings:
    found = row(db, "SELECT woken, woken_free FROM agents WHERE id = ?", (agent_id,))
    if found is None:
        raise NotFound(f"There is no agent with the id {agent_id}; it may have been removed.")
    return Wakings(woken=found["woken"], free=found["woken_free"])


def _claimed_row(db: Database, occurrence_id: int, fence: int, target: OccurrenceStatus) -> Occurrence:
    """The due time, if the caller's claim on it still holds."""
    occurrence = get_occurrence(db, occurrence_id)
    if occurrence.status is not OccurrenceStatus.CLAIMED:
        raise occurrence_conflict(occurrence_id, occurrence.status, target)
    if occurrence.fence != fence:
        raise Conflict(
            f"Due time {occurrence_id} was claimed again since (claim {occurrence.fence}, not {fence}); "
            f"it can't become {target}."
        )
    return occurrence
