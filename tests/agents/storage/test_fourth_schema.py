"""A home of version 3 with a history becomes one of version 4: nothing is lost, and everything works on."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database

from agents.clock import SystemClock
from agents.core import (
    FILE_GONE,
    NewResult,
    OccurrenceStatus,
    RunStatus,
    StepKind,
    StepUsage,
    Wakings,
)
from agents.storage import Store
from agents.storage.driver import connect_for_work, rows, scalar
from agents.storage.migrations import MIGRATIONS, migrate
from agents.triggers import TriggerKind
from tests.agents.storage.databases import KEY, NO_KEY, occurrence

LOST = Path(os.fsdecode(b"/in/\xff.txt"))
DUE_US = 1_700_000_000_123_456
HISTORY = (
    "INSERT INTO agents (name, name_key, revision, created_us) VALUES ('Old', 'old', 1, 5)",
    """
    INSERT INTO agent_revisions (agent_id, number, source, definition, created_us)
    VALUES (1, 1, 's', '{"name":"Old","description":"","kind":"digest","read_folders":[]}', 5)
    """,
    "INSERT INTO agents (name, name_key, revision, created_us, removed_us) VALUES ('Gone', 'gone', 1, 5, 9)",
    "INSERT INTO agent_revisions (agent_id, number, source, definition, created_us) VALUES (2, 1, 's', '{}', 5)",
)
# id, agent, trigger, key, path, hash, status, reason, owner, started, finished, code
RUNS = (
    (3, 1, "file_changed", "a", "/in/a", "h", "succeeded", None, None, 6, 7, None),
    (4, 1, "file_changed", "b", b"/in/\xff.txt", "i", "failed", "It is gone.", None, 6, 8, FILE_GONE),
    (5, 1, "manual", "c", None, None, "cancelled", "Cancelled by you.", None, None, 9, None),
    (6, 1, "file_changed", "d", "/in/d", "k", "running", None, "dead", 9, None, None),
    (8, 1, "file_changed", b"\xfe", "/in/e", "l", "pending", None, None, None, None, None),
    (9, 2, "file_changed", "a", "/in/a", "h", "succeeded", None, None, 6, 7, None),
)


def version_3(path: Path) -> None:
    """A database as version 3 left it, with a run in every state that it knew."""
    path.touch(0o600)
    db = connect_for_work(path, KEY)
    MIGRATIONS.apply(db, stop_before="m0004_due_times")
    with db.atomic():
        for statement in HISTORY:
            db.execute(statement)
        for id_, agent, trigger, key, file, content, status, reason, owner, started, finished, code in RUNS:
            db.execute(
                """
                INSERT INTO occurrences (id, agent_id, trigger, key, due_us, path, content_hash, size_bytes, status, reason,
                    created_us)
                VALUES (?, ?, ?, ?, ?, ?, ?, 4, ?, ?, 5)
                """,
                (id_, agent, trigger, key, DUE_US + id_, file, content, status, reason),
            )
            db.execute(
                """
                INSERT INTO runs (id, occurrence_id, agent_id, revision_id, status, reason, attempt, owner, model, created_us,
                    started_us, finished_us, error_code)
                VALUES (?, ?, ?, ?, ?, ?, 2, ?, 'smol', 5, ?, ?, ?)
                """,
                (id_ + 10, id_, agent, agent, status, reason, owner, started, finished, code),
            )
        db.execute(
            """
            INSERT INTO steps (run_id, seq, key, kind, title, status, output, prompt_tokens, started_us, finished_us)
            VALUES (13, 1, 'read', 'read', 'Read', 'succeeded', '"text"', 9, 6, 7)
            """
        )
        db.execute(
            "INSERT INTO results (run_id, title, summary, action_items, category, created_us) "
            "VALUES (13, 'T', 'S', '[\"x\"]', 'c', 7)"
        )
    db.close()


def columns(db: Database, table: str) -> list[str]:
    return [row["name"] for row in rows(db, f"PRAGMA table_info({table})")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "hearth.db"
    version_3(path)
    return path


async def test_every_row_is_as_it_was(path: Path) -> None:
    db = connect_for_work(path, KEY)
    tables = ("agents", "agent_revisions", "occurrences", "runs", "steps", "results")
    before = {table: (columns(db, table), rows(db, f"SELECT * FROM {table} ORDER BY id")) for table in tables}  # noqa: S608
    db.close()

    await (await Store.open(path, KEY, clock=SystemClock())).close()

    db = connect_for_work(path, KEY)
    for table, (names, old) in before.items():
        kept = rows(db, f"SELECT {', '.join(names)} FROM {table} ORDER BY id")  # noqa: S608
        assert kept == old, table
    assert rows(db, "PRAGMA foreign_key_check") == []
    assert rows(db, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert scalar(db, "PRAGMA foreign_keys") == 1
    db.close()


async def test_the_history_is_read_and_work_goes_on(path: Path) -> None:
    store = await Store.open(path, KEY, clock=SystemClock())
    try:
        (done,) = await store.runs.list(agent="old", status=RunStatus.SUCCEEDED)
        assert (done.id, done.title, done.prompt_tokens, done.failures) == (13, "T", 9, 0)
        assert (done.energy_j, done.cost_usd, done.not_before, done.retry_of) == (None, 0.0, None, None)
        assert done.due_at == datetime.fromtimestamp(DUE_US // 10**6, UTC).replace(microsecond=123_459)
        assert await store.runs.lost_versions(1) == {(LOST, "i")}
        assert await store.schedule.wakings(1) == Wakings(woken=4, free=0)
        assert await store.schedule.anchors() == {}

        assert [run.id for run in await store.runs.recover("alive")] == [16]
        following = await store.runs.next_pending()
        assert following is not None
        assert following.id == 16
        await store.runs.begin(16, owner="alive", model="m")
        step = await store.runs.begin_step(16, key="k", kind=StepKind.MODEL, title="t")
        await store.runs.finish_step(
            step.id, output=1, detail=None, usage=StepUsage(energy_j=2.5, cost_usd=0.5), route="local"
        )
        result = NewResult(title="t", summary="s", action_items=(), category="c")
        run = await store.runs.finish(16, RunStatus.SUCCEEDED, result=result)
        assert (run.energy_j, run.cost_usd) == (2.5, 0.5)

        again = await store.runs.record(
            occurrence(1, "b", path=LOST, content_hash="i")
        )  # what was gone is back
        assert again is not None
        assert again.id > 19, "an id is never given twice"
        assert await store.runs.record(occurrence(1, "a", path=Path("/in/a"), content_hash="h")) is None
    finally:
        await store.close()


async def test_the_new_words_are_checked_by_the_tables_too(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    path.touch(0o600)
    db = connect_for_work(path, NO_KEY)
    migrate(db)
    (occurrences,) = rows(db, "SELECT sql FROM sqlite_schema WHERE name = 'occurrences'")
    (runs,) = rows(db, "SELECT sql FROM sqlite_schema WHERE name = 'runs'")
    for status in OccurrenceStatus:
        assert f"'{status}'" in occurrences["sql"]
    for status in RunStatus:
        assert f"'{status}'" in runs["sql"]
    db.close()


def test_a_migration_that_would_leave_a_stray_row_is_undone(path: Path) -> None:
    db = connect_for_work(path, KEY)
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("UPDATE steps SET run_id = 99")
    before = rows(db, "SELECT name, sql FROM sqlite_schema ORDER BY name")

    with pytest.raises(RuntimeError, match="1 rows would point at nothing"):
        migrate(db)

    assert rows(db, "SELECT name, sql FROM sqlite_schema ORDER BY name") == before
    assert scalar(db, "PRAGMA user_version") == 3
    assert len(rows(db, "SELECT id FROM runs")) == len(RUNS)
    db.close()


def test_triggers_of_a_kind_that_has_times_are_the_ones_with_an_index() -> None:
    db = Database(memory=True)
    db.execute("PRAGMA foreign_keys = OFF")
    MIGRATIONS.apply(db)
    (index,) = rows(db, "SELECT sql FROM sqlite_schema WHERE name = 'occurrences_of_trigger'")
    for kind in (TriggerKind.CRON, TriggerKind.INTERVAL, TriggerKind.ONCE):
        assert f"'{kind}'" in index["sql"]
    db.close()
