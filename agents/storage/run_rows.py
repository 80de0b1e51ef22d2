"""Reads runs and results; every other module that needs one as a value gets it here."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlite_utils import Database

from agents.core import Result, Run, RunStatus
from agents.errors import NotFound
from agents.storage.driver import Row, row, rows
from agents.storage.values import from_json, from_path_or_none, from_us, from_us_or_none, name_key
from agents.triggers import TriggerKind

# The sums run over an index on steps (run_id, …), for the few rows that a page shows.
_RUN = """
    SELECT r.id, r.agent_id, a.name AS agent_name, r.revision_id, r.occurrence_id, o.trigger, r.status, r.reason, o.path,
        o.content_hash, o.due_us, r.created_us, r.started_us, r.finished_us, r.attempt, r.model, res.title,
        (SELECT coalesce(sum(prompt_tokens), 0) FROM steps WHERE run_id = r.id AND status = 'succeeded') AS prompt_tokens,
        (SELECT coalesce(sum(completion_tokens), 0) FROM steps WHERE run_id = r.id AND status = 'succeeded')
            AS completion_tokens,
        (SELECT coalesce(sum(prefill_s + decode_s), 0.0) FROM steps WHERE run_id = r.id AND status = 'succeeded') AS model_s
    FROM runs r
        JOIN occurrences o ON o.id = r.occurrence_id
        JOIN agents a ON a.id = r.agent_id
        LEFT JOIN results res ON res.run_id = r.id
"""

_RESULT = """
    SELECT res.*, a.name AS agent_name, o.path
    FROM results res
        JOIN runs r ON r.id = res.run_id
        JOIN occurrences o ON o.id = r.occurrence_id
        JOIN agents a ON a.id = r.agent_id
"""


def get_run(db: Database, run_id: int) -> Run:
    found = row(db, _RUN + " WHERE r.id = ?", (run_id,))
    if found is None:
        raise NotFound(f"There is no run {run_id}; `hearth runs list` shows the last ones.")
    return _run_from(found)


def list_runs(
    db: Database, *, agent: str | None, status: RunStatus | None, limit: int, before: int | None
) -> list[Run]:
    """Newest first. `agent` finds removed agents of that name too; `before` is the id that the last page ended with."""
    found = rows(
        db,
        _RUN
        + """
        WHERE (:agent IS NULL OR a.name_key = :agent) AND (:status IS NULL OR r.status = :status)
            AND (:before IS NULL OR r.id < :before)
        ORDER BY r.id DESC LIMIT :limit
        """,
        {"agent": _key_or_none(agent), "status": status, "before": before, "limit": limit},
    )
    return [_run_from(values) for values in found]


def next_pending_run(db: Database, skip_agents: Collection[int]) -> Run | None:
    """The pending run that has been due for longest, of an agent that is neither paused, removed nor to be skipped."""
    found = row(
        db,
        _RUN  # noqa: S608 - both parts are constants
        + """
        WHERE r.status = 'pending' AND a.paused = 0 AND a.removed_us IS NULL
            AND r.agent_id NOT IN (SELECT value FROM json_each(?))
        ORDER BY o.due_us, r.id LIMIT 1
        """,
        (json.dumps(list(skip_agents)),),
    )
    return None if found is None else _run_from(found)


def last_run_of(db: Database, agent_id: int) -> Run | None:
    """The newest run that has begun; those that wait are no news of the agent."""
    found = row(
        db,
        _RUN + " WHERE r.agent_id = ? AND r.started_us IS NOT NULL ORDER BY r.id DESC LIMIT 1",
        (agent_id,),
    )
    return None if found is None else _run_from(found)


def count_runs(db: Database, agent_id: int | None) -> dict[RunStatus, int]:
    """How many runs stand where; every status has its entry."""
    found = rows(
        db,
        "SELECT status, count(*) AS n FROM runs WHERE :agent IS NULL OR agent_id = :agent GROUP BY status",
        {"agent": agent_id},
    )
    counted = {RunStatus(values["status"]): int(values["n"]) for values in found}
    return {status: counted.get(status, 0) for status in RunStatus}


def list_results(db: Database, *, agent: str | None, limit: int, before: int | None) -> list[Result]:
    """Newest first, as list_runs."""
    found = rows(
        db,
        _RESULT
        + """
        WHERE (:agent IS NULL OR a.name_key = :agent) AND (:before IS NULL OR res.id < :before)
        ORDER BY res.id DESC LIMIT :limit
        """,
        {"agent": _key_or_none(agent), "before": before, "limit": limit},
    )
    return [_result_from(values) for values in found]


def result_of_run(db: Database, run_id: int) -> Result | None:
    found = row(db, _RESULT + " WHERE res.run_id = ?", (run_id,))
    return None if found is None else _result_from(found)


def _key_or_none(agent: str | None) -> str | None:
    return None if agent is None else name_key(agent)


def _run_from(found: Row) -> Run:
    return Run(
        id=found["id"],
        agent_id=found["agent_id"],
        agent_name=found["agent_name"],
        revision_id=found["revision_id"],
        occurrence_id=found["occurrence_id"],
        trigger=TriggerKind(found["trigger"]),
        status=RunStatus(found["status"]),
        reason=found["reason"],
        path=from_path_or_none(found["path"]),
        content_hash=found["content_hash"],
        due_at=from_us(found["due_us"]),
        created_at=from_us(found["created_us"]),
        started_at=from_us_or_none(found["started_us"]),
        finished_at=from_us_or_none(found["finished_us"]),
        attempt=found["attempt"],
        failures=0,
        not_before=None,
        retry_of=None,
        replay_of=None,
        energy_j=None,
        cost_usd=0.0,
        model=found["model"],
        prompt_tokens=found["prompt_tokens"],
        completion_tokens=found["completion_tokens"],
        model_s=found["model_s"],
        title=found["title"],
    )


def _result_from(found: Row) -> Result:
    return Result(
        id=found["id"],
        run_id=found["run_id"],
        agent_name=found["agent_name"],
        path=from_path_or_none(found["path"]),
        title=found["title"],
        summary=found["summary"],
        action_items=tuple(from_json(found["action_items"])),
        category=found["category"],
        created_at=from_us(found["created_us"]),
    )
