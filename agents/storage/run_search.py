"""Finds runs in a long history: pages with filters, a search for words, and what was in work between two moments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlite_utils import Database

from agents.core import Run, RunStatus
from agents.storage.driver import Row, rows
from agents.storage.run_rows import agent_ids_named, of_agents, runs_by_id
from agents.storage.text_search import HOLDS, words_of
from agents.storage.values import to_us
from agents.triggers import TriggerKind

SEARCH_WINDOW = 20_000  # runs that one search for words looks through; a page further on goes on from there

# No attempt is in work for longer, so none that began earlier has to be looked at: a time limit may be a week, and what a run waits
# for the machine is not counted in it.
LONGEST_WORK = timedelta(days=14)


def search_runs(
    db: Database,
    *,
    text: str | None,
    agent: str | None,
    status: RunStatus | None,
    trigger: TriggerKind | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    before: int | None,
) -> list[Run]:
    """Newest first. `agent` finds removed agents of that name too; `since` and `until` are of when the run came into being."""
    agent_ids = None if agent is None else agent_ids_named(db, agent)
    sql, values = _page(agent_ids, status, trigger, since, until, before)
    words = words_of(text or "")
    if words:
        sql = f"""
            SELECT r.id FROM ({sql} LIMIT {SEARCH_WINDOW}) page
                JOIN runs r ON r.id = page.id
                JOIN occurrences o ON o.id = r.occurrence_id
                JOIN agents a ON a.id = r.agent_id
                LEFT JOIN results res ON res.run_id = r.id
            WHERE {HOLDS}(:words, a.name, r.reason, o.path, res.title, res.summary, res.action_items)
            ORDER BY r.id DESC
        """  # noqa: S608 - every part is a constant of this package
        values["words"] = json.dumps(words)
    found = rows(db, f"{sql} LIMIT :limit", values | {"limit": limit})
    return runs_by_id(db, [value["id"] for value in found])


def _page(
    agent_ids: Sequence[int] | None,
    status: RunStatus | None,
    trigger: TriggerKind | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
) -> tuple[str, Row]:
    """A query for the ids of runs, newest first, and its values. Only what is asked for stands in it, so that indexes serve it."""
    where: list[str] = []
    values: Row = {}
    if agent_ids is not None:
        condition, values["agents"] = of_agents("r.agent_id", agent_ids)
        where.append(condition)
    for condition, name, value in (
        ("r.status = :status", "status", status),
        ("o.trigger = :trigger", "trigger", trigger),
        ("r.created_us >= :since", "since", since and to_us(since)),
        ("r.created_us < :until", "until", until and to_us(until)),
        ("r.id < :before", "before", before),
    ):
        if value is not None:
            where.append(condition)
            values[name] = value
    source = "runs r" if trigger is None else "runs r JOIN occurrences o ON o.id = r.occurrence_id"
    conditions = " WHERE " + " AND ".join(where) if where else ""
    return f"SELECT r.id FROM {source}{conditions} ORDER BY r.id DESC", values  # noqa: S608


def runs_between(db: Database, since: datetime, until: datetime, limit: int) -> list[Run]:
    """Runs whose last attempt was in work between two moments, the one that began last first."""
    found = rows(
        db,
        """
        SELECT id FROM (
            SELECT id, started_us FROM runs INDEXED BY runs_by_start
            WHERE started_us >= :earliest AND started_us < :until AND finished_us > :since
            UNION ALL
            SELECT id, started_us FROM runs INDEXED BY runs_by_status WHERE status = 'running' AND started_us < :until
        ) ORDER BY started_us DESC, id DESC LIMIT :limit
        """,
        {
            "earliest": to_us(since - LONGEST_WORK),
            "since": to_us(since),
            "until": to_us(until),
            "limit": limit,
        },
    )
    return runs_by_id(db, [value["id"] for value in found])
