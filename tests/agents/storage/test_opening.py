"""A database is opened whole or refused in one sentence with every byte as it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlcipher3

from agents.clock import SystemClock
from agents.credentials import KeyKind, ResolvedKey
from agents.errors import Damaged, HearthError, NewerSchema, StoreProblem, WrongKey
from agents.storage import Store, driver, opening
from tests.agents.storage.databases import (
    KEY,
    NO_KEY,
    OTHER_KEY,
    PASSPHRASE,
    count_pending,
    fill,
    fingerprints,
)

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hearth.db"


async def refusal(path: Path, key: ResolvedKey, kind: type[HearthError]) -> str:
    """Opens a database that must be refused, checks that no byte has changed, and returns the sentence."""
    before = fingerprints(path.parent)
    with pytest.raises(kind) as caught:
        await Store.open(path, key, clock=SystemClock())
    assert type(caught.value) is kind
    assert fingerprints(path.parent) == before
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert re.fullmatch(r"[A-Z].*\.", sentence)
    return sentence


OWNER = """
import os, sqlcipher3, sys
path, key = sys.argv[1:]
db = sqlcipher3.connect(path)
db.execute(f"PRAGMA key = \\"x'{key}'\\"")
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("INSERT INTO meta (key, value) VALUES ('last', 'words')")
db.commit()
os.kill(os.getpid(), 9)
"""


def leave_log_behind(path: Path) -> None:
    """Makes a closed database one whose owner was killed: its last commit is only in the write-ahead log."""
    subprocess.run([sys.executable, "-c", OWNER, path, KEY.raw.hex()], check=False, timeout=30)
    assert path.with_name("hearth.db-wal").stat().st_size > 0


@pytest.mark.parametrize("key", [KEY, PASSPHRASE, NO_KEY], ids=["raw key", "passphrase", "no key"])
async def test_what_was_stored_is_there_after_a_restart(path: Path, key: ResolvedKey) -> None:
    await fill(path, key, runs=3)

    assert await count_pending(path, key) == 3


async def test_a_closed_store_is_one_private_file(path: Path) -> None:
    before = os.umask(0o022)
    try:
        await fill(path, KEY)
    finally:
        os.umask(before)

    assert [file.name for file in path.parent.iterdir()] == ["hearth.db"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_every_file_of_an_open_store_is_private_under_a_loose_umask(path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = await Store.open(path, KEY, clock=SystemClock())
        await store.meta.set("some", "thing")
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        await store.close()
    finally:
        os.umask(before)

    assert modes == {"hearth.db": 0o600, "hearth.db-wal": 0o600}


async def test_a_database_that_came_back_readable_for_others_is_made_private(path: Path) -> None:
    await fill(path, KEY, runs=1)
    path.chmod(0o644)

    assert await count_pending(path, KEY) == 1
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "wrong",
    [OTHER_KEY, PASSPHRASE, ResolvedKey(kind=KeyKind.PASSPHRASE, passphrase="0" * 64)],
    ids=["raw key", "passphrase", "hex passphrase"],
)
async def test_a_wrong_key_is_refused(path: Path, wrong: ResolvedKey) -> None:
    await fill(path, KEY)

    sentence = await refusal(path, wrong, WrongKey)

    assert "key" in sentence
    assert "damaged" in sentence  # SQLCipher can't tell the two apart when nothing opens


async def test_a_wrong_key_leaves_a_log_with_acknowledged_work_alone(path: Path) -> None:
    await fill(path, KEY)
    leave_log_behind(path)

    await refusal(path, OTHER_KEY, WrongKey)

    store = await Store.open(path, KEY, clock=SystemClock())
    assert await store.meta.get("last") == "words"
    await store.close()


async def test_no_key_for_an_encrypted_database_is_refused(path: Path) -> None:
    await fill(path, KEY)

    assert "--key-file" in await refusal(path, NO_KEY, WrongKey)


async def test_a_key_for_a_plain_database_is_refused(path: Path) -> None:
    await fill(path, NO_KEY)

    assert "--insecure-no-encryption" in await refusal(path, KEY, WrongKey)


async def test_an_interrupted_runtime_left_its_last_commits_in_the_log_and_they_are_found(path: Path) -> None:
    await fill(path, KEY, runs=5)
    leave_log_behind(path)

    store = await Store.open(path, KEY, clock=SystemClock())
    assert await store.meta.get("last") == "words"
    await store.close()
    assert await count_pending(path, KEY) == 5


def change(path: Path, key: ResolvedKey, *statements: str) -> None:
    db = sqlcipher3.connect(str(path))
    if key.raw is not None:
        db.execute(f"PRAGMA key = \"x'{key.raw.hex()}'\"")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize("key", [KEY, NO_KEY], ids=["encrypted", "plain"])
@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA user_version = 99",
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('hearth', 'm0099_later', 'then')",
    ],
    ids=["its number", "a migration"],
)
async def test_a_newer_schema_is_refused(path: Path, key: ResolvedKey, statement: str) -> None:
    await fill(path, key)
    change(path, key, statement)

    assert "newer Hearth" in await refusal(path, key, NewerSchema)


async def test_a_newer_schema_is_refused_with_its_log_untouched(path: Path) -> None:
    await fill(path, KEY)
    change(path, KEY, "PRAGMA user_version = 99")
    leave_log_behind(path)

    await refusal(path, KEY, NewerSchema)


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    change(path, NO_KEY, "CREATE TABLE recipes (name TEXT)", "PRAGMA user_version = 1")

    assert "another program" in await refusal(path, NO_KEY, Damaged)


def overwrite(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xaa" * length)


SPOILS: dict[str, Callable[[Path], None]] = {
    "its first page, but for the salt": lambda path: overwrite(path, 100, 400),
    "a page in the middle": lambda path: overwrite(path, PAGE * 9 + 1000, 64),
    "its end": lambda path: os.truncate(path, path.stat().st_size // 2 + 100),
    "whole pages at its end": lambda path: os.truncate(path, path.stat().st_size // PAGE // 2 * PAGE),
    "all but a few bytes": lambda path: os.truncate(path, 10),
    "everything": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
async def test_a_damaged_encrypted_database_is_told_from_a_wrong_key(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    await fill(path, KEY, runs=200)
    spoil(path)

    assert "damaged" in await refusal(path, KEY, Damaged)


@pytest.mark.parametrize("name", ["a page in the middle", "its end", "all but a few bytes", "everything"])
async def test_a_damaged_plain_database_is_refused(path: Path, name: str) -> None:
    await fill(path, NO_KEY, runs=200)
    if name == "a page in the middle":
        overwrite(path, PAGE * 2, PAGE * 12)
    else:
        SPOILS[name](path)

    assert "damaged" in await refusal(path, NO_KEY, Damaged)


async def test_of_a_long_history_a_damaged_page_is_found_when_it_is_read_and_by_every_backup(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, KEY, runs=200)
    db = driver.connect(path, KEY, options="mode=ro")
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'").fetchone()
    db.close()
    overwrite(path, (root - 1) * PAGE + 1000, 64)
    monkeypatch.setattr(opening, "_CHECKED_BYTES", 100_000)

    store = await Store.open(path, KEY, clock=SystemClock())
    try:
        with pytest.raises(Damaged, match="restore-backup"):
            await store.runs.list(limit=1_000)
    finally:
        await store.close()
    with pytest.raises(Damaged):
        opening.inspect(path, KEY)


async def test_a_lost_salt_looks_like_a_wrong_key_and_the_sentence_names_both(path: Path) -> None:
    await fill(path, KEY)
    overwrite(path, 0, 16)

    sentence = await refusal(path, KEY, WrongKey)

    assert "key" in sentence
    assert "damaged" in sentence


@pytest.mark.parametrize("key", [KEY, PASSPHRASE, NO_KEY], ids=["raw key", "passphrase", "no key"])
async def test_a_text_file_is_no_database(path: Path, key: ResolvedKey) -> None:
    path.write_bytes(b"Dear diary, today was fine.\n" * 500)

    assert "damaged" in await refusal(path, key, WrongKey)


async def test_a_folder_in_the_database_place_is_refused(path: Path) -> None:
    path.mkdir()

    with pytest.raises(StoreProblem, match="is not a file"):
        await Store.open(path, KEY, clock=SystemClock())


async def test_a_log_without_its_database_is_not_built_over(path: Path) -> None:
    await fill(path, KEY)
    leave_log_behind(path)
    path.rename(path.with_name("moved.db"))

    assert "missing" in await refusal(path, KEY, Damaged)


async def test_a_start_that_died_while_it_made_the_database_leaves_nothing_in_the_way(path: Path) -> None:
    for name in ("hearth.db.new", "hearth.db.new-wal", "hearth.db.new-journal"):
        path.with_name(name).write_bytes(b"half of a database")

    await fill(path, KEY, runs=2)

    assert await count_pending(path, KEY) == 2
    assert [file.name for file in path.parent.iterdir()] == ["hearth.db"]


async def test_a_database_that_another_program_holds_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_MS", 50)
    await fill(path, KEY)
    other = sqlcipher3.connect(str(path), timeout=0)
    other.execute(f"PRAGMA key = \"x'{KEY.raw.hex()}'\"")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreProblem, match="Another program is using the database"):
            await Store.open(path, KEY, clock=SystemClock())
    finally:
        other.rollback()
        other.close()


async def test_a_home_whose_name_is_not_text_works(tmp_path: Path) -> None:
    home = tmp_path / os.fsdecode(b"h\xf6me?mode=memory#x")
    home.mkdir()

    await fill(home / "hearth.db", KEY, runs=2)

    assert await count_pending(home / "hearth.db", KEY) == 2
    shutil.rmtree(home)
