"""What runs change outside of Hearth: an intent before, an outcome after, and never two under one key.

Runs in: store thread, inside the caller's transaction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agents.core import Effect
from agents.errors import Conflict, NotFound
from agents.storage.driver import Row, insert, row, rows
from agents.storage.run_rows import get_run
from agents.storage.values import from_json, from_json_or_none, from_path, to_json, to_path


def put_effect(
    db: Database,
    run_id: int,
    key: str,
    kind: str,
    request: Any,
    *,
    path: Path | None,
    content_hash: str | None,
    now_us: int,
) -> Effect:
    """Stores the intent, or returns what an earlier attempt left under that key: its request, and its outcome if known."""
    found = _effect(db, run_id, key)
    if found is None:
        agent_id = get_run(db, run_id).agent_id
        values: Row = {
            "run_id": run_id,
            "key": key,
            "kind": kind,
            "request": to_json(request),
            "created_us": now_us,
        }
        insert(db, "effects", values)
        if path is not None and content_hash is not None:
            db.execute(
                "INSERT OR IGNORE INTO written_files (agent_id, path, content_hash) VALUES (?, ?, ?)",
                (agent_id, to_path(path), content_hash),
            )
        found = _effect(db, run_id, key)
    assert found is not None  # it has just been inserted
    return _effect_from(found)


def settle_effect(db: Database, run_id: int, key: str, outcome: Any, *, now_us: int) -> Effect:
    """Stores how it went. A second outcome is a Conflict, unless it is the same."""
    if outcome is None:
        raise ValueError("an outcome that is known is not null")
    found = _effect(db, run_id, key)
    if found is None:
        raise NotFound(f"Run {run_id} has no effect {key!r}.")
    if found["outcome"] is None:
        db.execute(
            "UPDATE effects SET outcome = ?, settled_us = ? WHERE id = ?",
            (to_json(outcome), now_us, found["id"]),
        )
    elif from_json(found["outcome"]) != outcome:
        raise Conflict(f"The effect {key!r} of run {run_id} has another outcome already.")
    settled = _effect(db, run_id, key)
    assert settled is not None  # it was there above
    return _effect_from(settled)


def list_effects(db: Database, run_id: int) -> list[Effect]:
    return [
        _effect_from(found)
        for found in rows(db, "SELECT * FROM effects WHERE run_id = ? ORDER BY id", (run_id,))
    ]


def files_written(db: Database, agent_id: int) -> set[tuple[Path, str]]:
    """Path and hash of every file that the agent wrote, or was about to write when its runtime died."""
    found = rows(db, "SELECT path, content_hash FROM written_files WHERE agent_id = ?", (agent_id,))
    return {(from_path(values["path"]), values["content_hash"]) for values in found}


def _effect(db: Database, run_id: int, key: str) -> Row | None:
    return row(db, "SELECT * FROM effects WHERE run_id = ? AND key = ?", (run_id, key))


def _effect_from(found: Row) -> Effect:
    return Effect(
        run_id=found["run_id"],
        key=found["key"],
        kind=found["kind"],
        request=from_json(found["request"]),
        outcome=from_json_or_none(found["outcome"]),
    )
