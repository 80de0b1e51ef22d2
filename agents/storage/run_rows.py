"""Reads runs and results; every other module that needs one as a value gets it here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlite_utils import Database

from agents.core import Result, Run, RunStatus
from agents.errors import NotFound
from agents.storage.driver import Row, row, rows, scalar
from agents.storage.values import (
    from_json,
    from_json_or_none,
    from_path_or_none,
    from_us,
    from_us_or_none,
    name_key,
    to_us,
)
from agents.triggers import TriggerKind

# The sums run over an index on steps (run_id, …), for the few rows that a page shows.
_RUN = """
    SELECT r.id, r.agent_id, a.name AS agent_name, r.revision_id, r.occurrence_id, o.trigger, r.status, r.reason, o.path,
        o.content_hash, o.input, r.due_us, r.created_us, r.started_us, r.finished_us, r.attempt, r.failures, r.not_before_us,
        r.retry_of, r.replay_of, r.model, res.title,
        (SELECT coalesce(sum(prompt_tokens), 0) FROM steps WHERE run_id = r.id AND status = 'succeeded') AS prompt_tokens,
        (SELECT coalesce(sum(completion_tokens), 0) FROM steps WHERE run_id = r.id AND status = 'succeeded')
            AS completion_tokens,
        (SELECT coalesce(sum(prefill_s + decode_s), 0.0) FROM steps WHERE run_id = r.id AND status = 'succeeded') AS model_s,
        (SELECT sum(energy_j) FROM steps WHERE run_id = r.id AND status = 'succeeded') AS energy_j,
        (SELECT coalesce(sum(cost_usd), 0.0) FROM steps WHERE run_id = r.id AND status = 'succeeded') AS cost_usd
    FROM runs r
        JOIN occurrences o ON o.id = r.occurrence_id
        JOIN agents a ON a.id = r.agent_id
        LEFT JOIN results res ON res.run_id = r.id
"""

_UNFINISHED = "('pending', 'running', 'waiting_for_approval')"

_ABOVE_ALL = 2**62

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
    return run_from(found)


def runs_by_id(db: Database, ids: Sequence[int]) -> list[Run]:
    """Those runs, in that order."""
    found = rows(
        db,
        _RUN + " WHERE r.id IN (SELECT value FROM json_each(?))",  # noqa: S608
        (json.dumps(list(ids)),),
    )
    by_id = {values["id"]: run_from(values) for values in found}
    return [by_id[run_id] for run_id in ids]


def next_pending_run(
    db: Database,
    *,
    now: datetime,
    skip_agents: Collection[int] = (),
    held_agents: Collection[int] = (),
    only_by_hand: bool = False,
    at_most: Mapping[int, int] | None = None,
) -> Run | None:
    """The pending run that has been due for longest and may begin now.

    Its agent is neither paused, removed nor to be skipped, and has fewer runs in work than `at_most` says of it, which is one where it
    says nothing; without `at_most`, runs in work are not counted. Of `held_agents`, or with `only_by_hand` of all, only runs that
    somebody asked for are taken.
    """
    found = row(
        db,
        """
        SELECT r.id FROM runs r INDEXED BY runs_pending JOIN agents a ON a.id = r.agent_id
        WHERE r.status = 'pending' AND (r.not_before_us IS NULL OR r.not_before_us <= :now)
            AND a.paused = 0 AND a.removed_us IS NULL AND r.agent_id NOT IN (SELECT value FROM json_each(:skip))
            AND (NOT (:only_by_hand OR r.agent_id IN (SELECT value FROM json_each(:held)))
                OR (SELECT o.trigger FROM occurrences o WHERE o.id = r.occurrence_id) = 'manual')
            AND (:at_most IS NULL OR (SELECT count(*) FROM runs w WHERE w.agent_id = r.agent_id AND w.status = 'running')
                < coalesce((SELECT value FROM json_each(:at_most) WHERE key = CAST(r.agent_id AS TEXT)), 1))
        ORDER BY r.due_us, r.id LIMIT 1
        """,
        {
            "now": to_us(now),
            "skip": json.dumps(list(skip_agents)),
            "held": json.dumps(list(held_agents)),
            "only_by_hand": int(only_by_hand),
            "at_most": None if at_most is None else json.dumps(dict(at_most)),
        },
    )
    return None if found is None else get_run(db, found["id"])


def earliest_not_before(db: Database, after: datetime) -> datetime | None:
    """When the next pending run that has to wait may begin."""
    found = row(
        db,
        "SELECT min(not_before_us) AS us FROM runs INDEXED BY runs_pending WHERE status = 'pending' AND not_before_us > ?",
        (to_us(after),),
    )
    return None if found is None else from_us_or_none(found["us"])


def unfinished_runs_of(db: Database, agent_id: int) -> list[Run]:
    """Runs that wait, are in work or wait for an answer, in the order in which they came due."""
    found = rows(
        db,
        _RUN + f" WHERE r.agent_id = ? AND r.status IN {_UNFINISHED} ORDER BY r.due_us, r.id",
        (agent_id,),
    )
    return [run_from(values) for values in found]


def count_unfinished(db: Database, agent_id: int) -> int:
    return int(
        scalar(
            db,
            f"SELECT count(*) FROM runs WHERE agent_id = ? AND status IN {_UNFINISHED}",  # noqa: S608
            (agent_id,),
        )
    )


def count_runs_since(db: Database, agent_id: int | None, since: datetime) -> int:
    mine = "" if agent_id is None else " AND agent_id = :agent"
    return int(
        scalar(
            db,
            f"SELECT count(*) FROM runs INDEXED BY runs_by_creation WHERE created_us >= :since{mine}",  # noqa: S608
            {"since": to_us(since), "agent": agent_id},
        )
    )


def nth_newest_run(db: Database, agent_id: int | None, n: int) -> datetime | None:
    """When it came into being, counted from 1; None when there are fewer."""
    mine = "" if agent_id is None else "WHERE agent_id = :agent"
    found = row(
        db,
        f"""
        SELECT created_us FROM runs INDEXED BY runs_by_creation {mine} ORDER BY created_us DESC LIMIT 1 OFFSET :skipped
        """,  # noqa: S608
        {"agent": agent_id, "skipped": n - 1},
    )
    return None if found is None else from_us(found["created_us"])


def failures_in_a_row(db: Database, agent_id: int) -> int:
    """Runs of the agent that failed since one had a result, and since the agent was changed or let run again; no replays."""
    return int(
        scalar(
            db,
            """
            SELECT count(*) FROM runs r JOIN agents a ON a.id = r.agent_id
            WHERE r.agent_id = :agent AND r.status = 'failed' AND r.replay_of IS NULL AND r.finished_us > max(a.fresh_us, coalesce(
                (SELECT max(finished_us) FROM runs
                    WHERE agent_id = :agent AND status IN ('succeeded', 'unverified') AND replay_of IS NULL), 0))
            """,
            {"agent": agent_id},
        )
    )


def last_run_of(db: Database, agent_id: int) -> Run | None:
    """The newest run that has begun; those that wait are no news of the agent."""
    found = row(
        db,
        _RUN + " WHERE r.agent_id = ? AND r.started_us IS NOT NULL ORDER BY r.id DESC LIMIT 1",
        (agent_id,),
    )
    return None if found is None else run_from(found)


def count_runs(db: Database, agent_id: int | None) -> dict[RunStatus, int]:
    """How many runs stand where; every status has its entry."""
    mine = "" if agent_id is None else "WHERE agent_id = :agent"
    found = rows(
        db,
        f"SELECT status, count(*) AS n FROM runs {mine} GROUP BY status",  # noqa: S608
        {"agent": agent_id},
    )
    counted = {RunStatus(values["status"]): int(values["n"]) for values in found}
    return {status: counted.get(status, 0) for status in RunStatus}


def list_results(db: Database, *, agent: str | None, limit: int, before: int | None) -> list[Result]:
    """Newest first; `agent` finds removed agents of that name too, `before` is the id that the page before ended with."""
    conditions = ["res.id < :before"]
    values: Row = {"before": _ABOVE_ALL if before is None else before, "limit": limit}
    if agent is not None:
        condition, values["agents"] = of_agents("res.agent_id", agent_ids_named(db, agent))
        conditions.append(condition)
    found = rows(db, f"{_RESULT} WHERE {' AND '.join(conditions)} ORDER BY res.id DESC LIMIT :limit", values)
    return [_result_from(values) for values in found]


def result_of_run(db: Database, run_id: int) -> Result | None:
    found = row(db, _RESULT + " WHERE res.run_id = ?", (run_id,))
    return None if found is None else _result_from(found)


def agent_ids_named(db: Database, name: str) -> list[int]:
    """Every agent of that name, removed ones too."""
    found = rows(db, "SELECT id FROM agents WHERE name_key = ? ORDER BY id", (name_key(name),))
    return [int(values["id"]) for values in found]


def of_agents(column: str, ids: Sequence[int]) -> tuple[str, int | str]:
    """A condition on rows of these agents, and its value :agents. Of one agent, an index has the rows in order."""
    if len(ids) == 1:
        return f"{column} = :agents", ids[0]
    return f"{column} IN (SELECT value FROM json_each(:agents))", json.dumps(list(ids))  # noqa: S608


def run_from(found: Row) -> Run:
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
        failures=found["failures"],
        not_before=from_us_or_none(found["not_before_us"]),
        retry_of=found["retry_of"],
        replay_of=found["replay_of"],
        energy_j=found["energy_j"],
        cost_usd=found["cost_usd"],
        model=found["model"],
        prompt_tokens=found["prompt_tokens"],
        completion_tokens=found["completion_tokens"],
        model_s=found["model_s"],
        title=found["title"],
        input=from_json_or_none(found["input"]),
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
