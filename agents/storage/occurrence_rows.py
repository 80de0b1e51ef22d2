"""Reads and inserts due times; every other module that needs one as a value gets it here."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from agents.core import (
    GateOutcome,
    NewOccurrence,
    Occurrence,
    OccurrenceStatus,
)
from agents.errors import NotFound
from agents.storage.driver import Row, UniqueError, insert, row, rows, scalar
from agents.storage.run_rows import of_agents
from agents.storage.values import (
    from_json_or_none,
    from_name,
    from_path,
    from_path_or_none,
    from_us,
    from_us_or_none,
    to_json_or_none,
    to_name,
    to_path,
    to_text,
    to_us,
)
from agents.triggers import GateKind, TriggerKind

_OCCURRENCE = """
    SELECT o.*, a.name AS agent_name, r.id AS run_id
    FROM occurrences o JOIN agents a ON a.id = o.agent_id LEFT JOIN runs r ON r.occurrence_id = o.id
"""
_WORKING = "a.paused = 0 AND a.removed_us IS NULL"
# By this index the rows come in the order of their due times, and those that are over are not touched.
_WAITING = f"""
    FROM occurrences o INDEXED BY occurrences_scheduled JOIN agents a ON a.id = o.agent_id
    WHERE o.status = 'scheduled' AND {_WORKING}
"""
_HELD = f"""
    FROM occurrences o INDEXED BY occurrences_held JOIN agents a ON a.id = o.agent_id
    WHERE o.held_until_us IS NOT NULL AND {_WORKING}
"""
_NOT_HELD = "(o.held_until_us IS NULL OR o.held_until_us <= :moment)"


def insert_occurrence(
    db: Database,
    new: NewOccurrence,
    status: OccurrenceStatus,
    *,
    reason: str | None = None,
    now_us: int,
) -> int | None:
    """The id of a new row; None when this agent has one with that key already."""
    values: Row = {
        "agent_id": new.agent_id,
        "trigger": new.trigger,
        "trigger_key": new.trigger_key,
        "key": to_name(new.key),
        "due_us": to_us(new.due_at),
        "n_due": new.n_due,
        "path": to_path(new.path),
        "content_hash": new.content_hash,
        "size_bytes": new.size_bytes,
        "input": to_json_or_none(new.input),
        "status": status,
        "reason": None if reason is None else to_text(reason),
        "created_us": now_us,
    }
    try:
        return insert(db, "occurrences", values)
    except UniqueError as error:
        if "UNIQUE" in str(error):  # a failed CHECK or a stray reference comes in the same class
            return None
        raise


def schedule_rows(db: Database, planned: Sequence[NewOccurrence], *, now_us: int) -> int:
    """Inserts due times that wait to be claimed; those that exist, and those of removed agents, are left out."""
    if not planned:
        return 0
    present = {found["id"] for found in rows(db, "SELECT id FROM agents WHERE removed_us IS NULL")}
    inserted = [
        insert_occurrence(db, new, OccurrenceStatus.SCHEDULED, now_us=now_us)
        for new in planned
        if new.agent_id in present
    ]
    return sum(id_ is not None for id_ in inserted)


def get_occurrence(db: Database, occurrence_id: int) -> Occurrence:
    found = row(db, _OCCURRENCE + " WHERE o.id = ?", (occurrence_id,))
    if found is None:
        raise NotFound(f"There is no due time {occurrence_id}.")
    return occurrence_from(found)


def find_occurrence(db: Database, agent_id: int, key: str) -> Occurrence | None:
    found = rows(db, _OCCURRENCE + " WHERE o.agent_id = ? AND o.key = ?", (agent_id, key))
    return occurrence_from(found[0]) if found else None


def get_occurrences(db: Database, ids: Collection[int]) -> list[Occurrence]:
    """Those of `ids` that exist, by due time."""
    found = rows(
        db,
        _OCCURRENCE + " WHERE o.id IN (SELECT value FROM json_each(?)) ORDER BY o.due_us, o.id",  # noqa: S608
        (json.dumps(list(ids)),),
    )
    return [occurrence_from(values) for values in found]


def occurrence_of_run(db: Database, run_id: int) -> Occurrence:
    found = row(db, _OCCURRENCE + " WHERE r.id = ?", (run_id,))
    if found is None:
        raise NotFound(f"There is no run {run_id}; `hearth runs list` shows the last ones.")
    return occurrence_from(found)


def scheduled(db: Database, agent_id: int | None) -> list[Occurrence]:
    """Rows that wait to be claimed, by due time."""
    mine = "" if agent_id is None else " AND o.agent_id = :agent"
    found = rows(
        db,
        _OCCURRENCE + f" WHERE o.status = 'scheduled'{mine} ORDER BY o.due_us, o.id",
        {"agent": agent_id},
    )
    return [occurrence_from(values) for values in found]


def due_by(db: Database, now: datetime, limit: int) -> list[Occurrence]:
    """Scheduled rows that are due, of agents that are neither paused nor removed, oldest first."""
    found = rows(
        db,
        f"SELECT o.id {_WAITING} AND o.due_us <= :moment AND {_NOT_HELD} ORDER BY o.due_us, o.id LIMIT :limit",
        {"moment": to_us(now), "limit": limit},
    )
    return get_occurrences(db, [value["id"] for value in found])


def earliest_due(db: Database) -> datetime | None:
    """When the next row is to be claimed: at its due time, or once it is held no longer."""
    due = row(db, f"SELECT o.due_us AS us {_WAITING} AND o.held_until_us IS NULL ORDER BY o.due_us LIMIT 1")
    held = row(db, f"SELECT o.held_until_us AS us {_HELD} ORDER BY o.held_until_us LIMIT 1")
    return min((from_us(found["us"]) for found in (due, held) if found is not None), default=None)


def count_overdue(db: Database, before: datetime) -> int:
    overdue = f"SELECT count(*) {_WAITING} AND o.due_us < :moment AND {_NOT_HELD}"
    return int(scalar(db, overdue, {"moment": to_us(before)}))


def held_rows(db: Database, agent_id: int) -> list[Occurrence]:
    """What is held of the agent, the row that is looked at next first."""
    mine = "SELECT id FROM occurrences INDEXED BY occurrences_held WHERE held_until_us IS NOT NULL AND agent_id = ?"
    found = rows(
        db,
        _OCCURRENCE + f" WHERE o.id IN ({mine}) ORDER BY o.held_until_us, o.due_us, o.id",
        (agent_id,),
    )
    return [occurrence_from(values) for values in found]


def newest_dues(db: Database) -> dict[tuple[int, str], datetime]:
    """Of each timed trigger of each agent, the due time of the newest row, whatever became of it."""
    found = rows(
        db,
        """
        SELECT o.agent_id, o.trigger_key, max(o.due_us) AS due_us FROM occurrences o
        WHERE o.trigger IN ('cron', 'interval', 'once') AND o.trigger_key IS NOT NULL
        GROUP BY o.agent_id, o.trigger_key
        """,
    )
    return {(values["agent_id"], values["trigger_key"]): from_us(values["due_us"]) for values in found}


def list_occurrences(
    db: Database,
    *,
    agent_ids: Sequence[int] | None,
    status: OccurrenceStatus | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    before: int | None,
) -> list[Occurrence]:
    """Newest rows first; `since` and `until` are of the due time, `until` not included."""
    where: list[str] = []
    values: Row = {"limit": limit}
    if agent_ids is not None:
        condition, values["agents"] = of_agents("o.agent_id", agent_ids)
        where.append(condition)
    for condition, name, value in (
        ("o.status = :status", "status", status),
        ("o.due_us >= :since", "since", since and to_us(since)),
        ("o.due_us < :until", "until", until and to_us(until)),
        ("o.id < :before", "before", before),
    ):
        if value is not None:
            where.append(condition)
            values[name] = value
    found = rows(
        db,
        _OCCURRENCE + (" WHERE " + " AND ".join(where) if where else "") + " ORDER BY o.id DESC LIMIT :limit",
        values,
    )
    return [occurrence_from(value) for value in found]


def put_files(db: Database, occurrence_id: int, files: Sequence[tuple[Path, str, int]]) -> None:
    """The versions that one run tells about: path, hash and size in bytes."""
    db.conn.executemany(
        "INSERT INTO occurrence_files (occurrence_id, path, content_hash, size_bytes) VALUES (?, ?, ?, ?)",
        [(occurrence_id, to_path(path), content_hash, size) for path, content_hash, size in files],
    )


def files_of(db: Database, occurrence_id: int) -> list[tuple[Path, str, int]]:
    found = rows(db, "SELECT * FROM occurrence_files WHERE occurrence_id = ? ORDER BY path", (occurrence_id,))
    return [(from_path(value["path"]), value["content_hash"], value["size_bytes"]) for value in found]


def put_gate_rows(db: Database, occurrence_id: int, gates: Sequence[GateOutcome], *, now_us: int) -> None:
    for seq, outcome in enumerate(gates, start=1):
        db.execute(
            """
            INSERT INTO gate_checks (occurrence_id, seq, gate, key, is_open, detail, created_us) VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            (
                occurrence_id,
                seq,
                outcome.gate,
                outcome.key,
                int(outcome.is_open),
                to_text(outcome.detail),
                now_us,
            ),
        )


def gate_rows_of(db: Database, occurrence_id: int) -> list[GateOutcome]:
    """What each gate said, in order; what it saw is kept by agent, not here."""
    found = rows(db, "SELECT * FROM gate_checks WHERE occurrence_id = ? ORDER BY seq", (occurrence_id,))
    return [
        GateOutcome(
            gate=GateKind(value["gate"]),
            key=value["key"],
            is_open=bool(value["is_open"]),
            detail=value["detail"],
        )
        for value in found
    ]


def put_gate_states(db: Database, agent_id: int, gates: Sequence[GateOutcome], *, now_us: int) -> None:
    """What the gates saw as they let a run through."""
    for outcome in gates:
        if outcome.state is not None:
            db.execute(
                """
                INSERT INTO gate_states (agent_id, key, state, updated_us) VALUES (?, ?, ?, ?)
                ON CONFLICT (agent_id, key) DO UPDATE SET state = excluded.state, updated_us = excluded.updated_us
                """,
                (agent_id, outcome.key, to_text(outcome.state), now_us),
            )


def gate_states_of(db: Database, agent_id: int) -> dict[str, str]:
    found = rows(db, "SELECT key, state FROM gate_states WHERE agent_id = ?", (agent_id,))
    return {value["key"]: value["state"] for value in found}


def occurrence_from(found: Row) -> Occurrence:
    return Occurrence(
        id=found["id"],
        agent_id=found["agent_id"],
        agent_name=found["agent_name"],
        trigger=TriggerKind(found["trigger"]),
        trigger_key=found["trigger_key"],
        key=from_name(found["key"]),
        due_at=from_us(found["due_us"]),
        status=OccurrenceStatus(found["status"]),
        reason=found["reason"],
        created_at=from_us(found["created_us"]),
        claimed_at=from_us_or_none(found["claimed_us"]),
        fence=found["fence"],
        held_until=from_us_or_none(found["held_until_us"]),
        path=from_path_or_none(found["path"]),
        content_hash=found["content_hash"],
        input=from_json_or_none(found["input"]),
        n_due=found["n_due"],
        run_id=found["run_id"],
    )
