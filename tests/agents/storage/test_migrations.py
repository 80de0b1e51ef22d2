"""An old database becomes a new one without losing a row, and a copy of the old one stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlite_utils import Database

from agents.clock import SystemClock
from agents.credentials import ResolvedKey
from agents.errors import DiskFull, StoreProblem
from agents.storage import Store, disk
from agents.storage.driver import connect_for_work, row, rows, scalar
from agents.storage.migrations import KNOWN_MIGRATIONS, MIGRATIONS, SCHEMA_VERSION
from tests.agents.storage.databases import KEY, NO_KEY, PASSPHRASE, fingerprints

AGENT = "INSERT INTO agents (name, name_key, revision, created_us) VALUES ('Old', 'old', 1, 0)"
REVISION = """
    INSERT INTO agent_revisions (agent_id, number, source, definition, created_us)
    VALUES (1, 1, 's', '{"name":"Old","description":"","kind":"digest","read_folders":[]}', 0)
"""


def make(path: Path, key: ResolvedKey, *, stop_before: str | None) -> None:
    """A database as an older Hearth left it."""
    path.touch(0o600)
    db = connect_for_work(path, key)
    MIGRATIONS.apply(db, stop_before=stop_before)
    db.close()


def schema(path: Path, key: ResolvedKey) -> list[dict[str, object]]:
    db = connect_for_work(path, key)
    try:
        return rows(db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    finally:
        db.close()


def test_each_migration_has_its_number_and_the_program_knows_them_all(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    path.touch(0o600)
    db = connect_for_work(path, NO_KEY)

    names = [migration.name for migration in MIGRATIONS.pending(db)]

    assert tuple(names) == KNOWN_MIGRATIONS
    for number, name in enumerate(names, start=1):
        assert name.startswith(f"m{number:04d}_")
        MIGRATIONS.apply(db, stop_before=names[number] if number < len(names) else None)
        assert scalar(db, "PRAGMA user_version") == number
    db.close()


async def test_a_migrated_schema_equals_a_new_one(tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    await (await Store.open(new, KEY, clock=SystemClock())).close()

    for name in KNOWN_MIGRATIONS[1:]:
        old = tmp_path / f"{name}.db"
        make(old, KEY, stop_before=name)
        assert schema(old, KEY) != schema(new, KEY)
        await (await Store.open(old, KEY, clock=SystemClock())).close()
        assert schema(old, KEY) == schema(new, KEY)


@pytest.mark.parametrize("key", [KEY, PASSPHRASE, NO_KEY], ids=["raw key", "passphrase", "no key"])
async def test_rows_survive_a_migration_and_the_old_database_stays_beside(
    tmp_path: Path, key: ResolvedKey
) -> None:
    path = tmp_path / "hearth.db"
    make(path, key, stop_before="m0002_conversations")
    db = connect_for_work(path, key)
    db.execute(AGENT)
    db.execute(REVISION)
    db.close()
    old_schema = schema(path, key)

    store = await Store.open(path, key, clock=SystemClock())
    assert [agent.name for agent in await store.agents.list()] == ["Old"]
    await store.conversations.create("New things work")
    await store.close()

    backup = tmp_path / "hearth.db.before-m0002_conversations"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hearth.db", backup.name]
    assert backup.stat().st_mode & 0o777 == 0o600
    assert schema(backup, key) == old_schema
    db = connect_for_work(backup, key)
    assert row(db, "SELECT name FROM agents") == {"name": "Old"}
    db.close()


async def test_of_the_copies_made_before_updates_the_newest_three_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    make(path, KEY, stop_before="m0002_conversations")
    for number in (5, 3, 4, 6):  # as if this database had been put back from before
        copy = tmp_path / f"hearth.db.before-m000{number}_later"
        copy.touch()
        os.utime(copy, (number, number))

    await (await Store.open(path, KEY, clock=SystemClock())).close()

    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "hearth.db",
        "hearth.db.before-m0002_conversations",
        "hearth.db.before-m0005_later",
        "hearth.db.before-m0006_later",
    ]


async def test_a_database_of_this_version_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    for _ in range(2):
        await (await Store.open(path, KEY, clock=SystemClock())).close()

    assert [file.name for file in tmp_path.iterdir()] == ["hearth.db"]


async def test_no_migration_begins_when_its_backup_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hearth.db"
    make(path, KEY, stop_before="m0002_conversations")
    before = fingerprints(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.shutil, "copyfileobj", full)
    with pytest.raises(DiskFull):
        await Store.open(path, KEY, clock=SystemClock())

    assert fingerprints(tmp_path) == before


async def test_no_migration_begins_when_its_backup_cannot_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hearth.db"
    make(path, KEY, stop_before="m0002_conversations")
    before = fingerprints(tmp_path)

    def rotten(source: BinaryIO, copy: BinaryIO, length: int) -> None:
        copy.write(source.read()[:-5000] + bytes(5000))

    monkeypatch.setattr(disk.shutil, "copyfileobj", rotten)
    with pytest.raises(StoreProblem, match="can't be read back"):
        await Store.open(path, KEY, clock=SystemClock())

    assert fingerprints(tmp_path) == before


async def test_a_migration_that_fails_leaves_the_version_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hearth.db"
    make(path, KEY, stop_before=KNOWN_MIGRATIONS[-1])
    before = schema(path, KEY)

    def broken(db: Database) -> None:
        db.execute("CREATE TABLE half_done (id INTEGER)")
        raise RuntimeError("a bug")

    monkeypatch.setattr(MIGRATIONS._migrations[-1], "fn", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        await Store.open(path, KEY, clock=SystemClock())

    assert schema(path, KEY) == before
    monkeypatch.undo()
    store = await Store.open(path, KEY, clock=SystemClock())
    await store.conversations.create("Now it works")
    await store.close()
    db = connect_for_work(path, KEY)
    assert scalar(db, "PRAGMA user_version") == SCHEMA_VERSION
    db.close()
