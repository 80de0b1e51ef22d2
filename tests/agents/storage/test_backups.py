"""A backup is made each day and soon after changes, is whole before it counts, and never costs an older one or anybody's time."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.clock import SystemClock
from agents.credentials import ResolvedKey
from agents.errors import Damaged, DiskFull, StoreProblem
from agents.paths import HomePaths
from agents.storage import Store, backups, driver
from agents.storage.backups import KEPT_DAYS, KEPT_NEWEST, Backups, kept_of, list_backups, newest_that_opens
from agents.storage.disk import create_private
from tests.agents.conftest import FakeClock
from tests.agents.storage.databases import KEY, NO_KEY, OTHER_KEY, PASSPHRASE, count_pending, fill

PAGE = 4096
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A database of some size, open."""
    await fill(tmp_path / "hearth.db", KEY, runs=200)
    opened = await Store.open(tmp_path / "hearth.db", KEY, clock=SystemClock())
    yield opened
    await opened.close()


def made_by(store: Store, folder: Path, clock: FakeClock, key: ResolvedKey = KEY) -> Backups:
    return Backups(paths=HomePaths(folder.parent), store=store, key=key, clock=clock)


def overwrite(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xaa" * length)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def forget_all_but_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "kept_of", lambda made: {made[0]})


async def sentence_of(maker: Backups, kind: type[StoreProblem]) -> str:
    """Tries to make a backup, which must fail, and returns what the user reads."""
    with pytest.raises(kind) as caught:
        await maker.make_if_due()
    assert type(caught.value) is kind
    sentence = str(caught.value)
    assert maker.problem == sentence
    assert re.fullmatch(r"[A-Z][^\n]*\.", sentence)
    return sentence


@pytest.mark.parametrize("key", [KEY, PASSPHRASE, NO_KEY], ids=["raw key", "passphrase", "no key"])
async def test_a_backup_is_one_private_file_that_the_same_key_opens(
    tmp_path: Path, folder: Path, clock: FakeClock, key: ResolvedKey
) -> None:
    await fill(tmp_path / "hearth.db", key, runs=7)
    store = await Store.open(tmp_path / "hearth.db", key, clock=SystemClock())
    await store.meta.set("only", "in the log")
    before = os.umask(0o022)
    try:
        made = await made_by(store, folder, clock, key).make_if_due()
    finally:
        os.umask(before)
        await store.close()

    assert made is not None
    assert names(folder) == ["hearth-20260301-120000.db"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.path.read_bytes().startswith(b"SQLite format 3\0") == (key is NO_KEY)
    copy = await Store.open(made.path, key, clock=SystemClock())
    assert await copy.meta.get("only") == "in the log"
    await copy.close()
    assert await count_pending(made.path, key) == 7


async def test_the_next_backup_is_made_once_the_newest_is_a_day_old(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    maker = made_by(store, folder, clock)
    assert await maker.make_if_due() is not None

    clock.advance(24 * 3600 - 1)
    assert await maker.make_if_due() is None
    clock.advance(1)
    assert await maker.make_if_due() is not None

    assert names(folder) == ["hearth-20260301-120000.db", "hearth-20260302-120000.db"]


async def test_asked_for_twice_at_once_it_is_made_once(store: Store, folder: Path, clock: FakeClock) -> None:
    maker = made_by(store, folder, clock)

    made = await asyncio.gather(maker.make_if_due(), maker.make_if_due())

    assert sum(backup is not None for backup in made) == 1


class Gate:
    """Stands before the copying: it has begun, and goes on when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write_copy(self, source: Path, copy: Path, key: ResolvedKey, *, stopped: Callable[[], bool]) -> None:
        self.begun.set()
        while not stopped():
            if self.go_on.wait(0.01):
                break
        driver.write_copy(source, copy, key, stopped=stopped)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(backups, "write_copy", made.write_copy)
    return made


def reach(gate: Gate) -> Awaitable[bool]:
    return asyncio.to_thread(gate.begun.wait, 10)


async def test_once_something_is_written_the_next_backup_is_made_when_the_newest_is_an_hour_old(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    maker = made_by(store, folder, clock)
    await maker.make_if_due()
    await store.meta.set("new", "work")

    clock.advance(3600 - 1)
    assert await maker.make_if_due() is None
    clock.advance(1)
    made = await maker.make_if_due()

    assert made is not None
    clock.advance(3600)
    assert await maker.make_if_due() is None  # nothing is new since then
    copy = await Store.open(made.path, KEY, clock=SystemClock())
    assert await copy.meta.get("new") == "work"
    await copy.close()


async def test_what_is_written_while_a_copy_is_made_counts_as_new_afterwards(
    store: Store, folder: Path, clock: FakeClock, gate: Gate
) -> None:
    maker = made_by(store, folder, clock)
    making = asyncio.create_task(maker.make_if_due())
    await reach(gate)
    await store.meta.set("late", "x")
    gate.go_on.set()
    await making

    clock.advance(3600)

    assert await maker.make_if_due() is not None


async def test_after_a_start_the_newest_backup_may_lack_what_a_killed_process_wrote(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    await made_by(store, folder, clock).make_if_due()
    clock.advance(3600)

    assert await made_by(store, folder, clock).make_if_due() is not None


async def test_a_stop_makes_a_backup_of_what_is_new_when_the_newest_is_ten_minutes_old(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    maker = made_by(store, folder, clock)
    await maker.make_if_due()
    clock.advance(600)
    assert await maker.make_if_due(stopping=True) is None
    await store.meta.set("new", "work")
    clock.advance(-1)
    assert await maker.make_if_due(stopping=True) is None
    clock.advance(1)
    assert await maker.make_if_due() is None

    made = await maker.make_if_due(stopping=True)

    assert made is not None
    copy = await Store.open(made.path, KEY, clock=SystemClock())
    assert await copy.meta.get("new") == "work"
    await copy.close()


async def test_a_stop_does_not_wait_for_a_backup_of_a_large_database(
    store: Store, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = made_by(store, folder, clock)
    size_bytes = await store.size_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(backups, "AT_STOP_MAX_BYTES", size_bytes - 1)
        assert await maker.make_if_due(stopping=True) is None
        patch.setattr(backups, "AT_STOP_MAX_BYTES", size_bytes)
        assert await maker.make_if_due(stopping=True) is not None


NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def newest_first(ages_min: set[int]) -> list[datetime]:
    return [NOON - timedelta(minutes=age_min) for age_min in sorted(ages_min)]


@given(ages_min=st.sets(st.integers(0, 30 * 24 * 60), max_size=60))
def test_the_newest_are_kept_and_the_last_of_each_of_seven_days(ages_min: set[int]) -> None:
    made = newest_first(ages_min)
    kept = kept_of(made)
    days = sorted({moment.date() for moment in made}, reverse=True)

    assert kept <= set(made)
    assert len(kept) <= KEPT_NEWEST + KEPT_DAYS
    assert set(made[:3]) <= kept
    for day in days[:7]:
        assert max(moment for moment in made if moment.date() == day) in kept
    for moment in kept - set(made[:3]):
        assert moment.date() in days[:7]
        assert not [later for later in made if later.date() == moment.date() and later > moment]


@given(ages_min=st.sets(st.integers(0, 30 * 24 * 60), max_size=60))
def test_what_is_forgotten_now_is_not_missed_later(ages_min: set[int]) -> None:
    """Deleting after each backup keeps the same ones as deleting once at the end."""
    made = newest_first(ages_min)
    step_by_step: list[datetime] = []
    for moment in reversed(made):
        kept = kept_of([moment, *step_by_step])
        step_by_step = [each for each in [moment, *step_by_step] if each in kept]

    assert set(step_by_step) == kept_of(made)


async def test_backups_of_each_age_are_kept_and_no_other_file_is_touched(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    folder.mkdir()
    for name in ("letter.txt", "hearth-20200101-000000.db.old", "hearth-20209999-000000.db"):
        (folder / name).write_text("mine")
    maker = made_by(store, folder, clock)
    for day in range(9):
        for hour in range(5 if day == 8 else 2):
            await store.meta.set("new", f"{day} {hour}")
            assert await maker.make_if_due() is not None
            clock.advance(3600)
        clock.advance(86_400 - 2 * 3600)

    assert [f"{backup.made_at:%d %H}" for backup in maker.newest_first()] == [
        *("09 16", "09 15", "09 14"),
        *("08 13", "07 13", "06 13", "05 13", "04 13", "03 13"),
    ]
    assert len(names(folder)) == 9 + 3


async def test_backups_from_a_time_when_the_clock_was_wrong_hinder_nothing(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    clock.advance(365 * 86_400)
    maker = made_by(store, folder, clock)
    for _ in range(KEPT_DAYS):
        assert await maker.make_if_due() is not None
        clock.advance(86_400)
    clock.advance(-400 * 86_400)

    made = await maker.make_if_due()

    assert made is not None
    assert await maker.make_if_due() is None
    assert maker.newest_first()[0] == made
    assert len(names(folder)) == KEPT_DAYS
    assert newest_that_opens(folder, KEY, now=clock.now()) == made


async def store_much(store: Store) -> None:
    """More than the log holds before it is merged into the database."""
    for number in range(50):
        await store.meta.set(f"{number}", "x" * 100_000)


async def test_work_goes_on_while_a_copy_is_made_and_the_copy_is_of_the_moment_when_it_began(
    store: Store, folder: Path, clock: FakeClock, gate: Gate
) -> None:
    database = folder.with_name("hearth.db")
    await store.meta.set("before", "x")
    making = asyncio.create_task(made_by(store, folder, clock).make_if_due())
    await reach(gate)
    at_rest = database.read_bytes()

    await store_much(store)

    assert not making.done()
    assert database.read_bytes() == at_rest
    gate.go_on.set()
    made = await making
    assert made is not None
    copy = await Store.open(made.path, KEY, clock=SystemClock())
    assert (await copy.meta.get("before"), await copy.meta.get("0")) == ("x", None)
    await copy.close()
    await store.meta.set("after", "x")
    assert database.read_bytes() != at_rest  # the log is merged again


OTHER = """
import sqlcipher3, sys
path, key = sys.argv[1:]
db = sqlcipher3.connect(path, timeout=0)
db.execute(f"PRAGMA key = \\"x'{key}'\\"")
db.execute("SELECT * FROM meta")
"""


async def test_another_program_is_locked_out_after_a_backup_as_before(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    """A process loses its locks on a file when it closes any descriptor of it (https://sqlite.org/howtocorrupt.html, 2.2)."""
    assert KEY.raw is not None
    await made_by(store, folder, clock).make_if_due()

    command = [sys.executable, "-c", OTHER, str(folder.with_name("hearth.db")), KEY.raw.hex()]
    other = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, check=False, text=True, timeout=30
    )

    assert "database is locked" in other.stderr


async def test_a_copy_during_which_the_store_was_closed_does_not_count(
    store: Store, folder: Path, clock: FakeClock, gate: Gate
) -> None:
    making = asyncio.create_task(made_by(store, folder, clock).make_if_due())
    await reach(gate)

    await store.close()
    gate.go_on.set()

    with pytest.raises(StoreProblem, match="stopping"):
        await making
    assert names(folder) == []


async def test_a_maker_that_is_cancelled_ends_its_copy_and_leaves_no_file(
    store: Store, folder: Path, clock: FakeClock, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_STEPS_BETWEEN_LOOKS", 1)
    making = asyncio.create_task(made_by(store, folder, clock).make_if_due())
    await reach(gate)

    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert names(folder) == []
    at_rest = folder.with_name("hearth.db").read_bytes()
    await store_much(store)
    assert folder.with_name("hearth.db").read_bytes() != at_rest


def test_a_copy_that_is_stopped_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(fill(tmp_path / "hearth.db", KEY))
    create_private(tmp_path / "copy.db")
    monkeypatch.setattr(driver, "_STEPS_BETWEEN_LOOKS", 1)

    with pytest.raises(driver.CopyStopped):
        driver.write_copy(tmp_path / "hearth.db", tmp_path / "copy.db", KEY, stopped=lambda: True)


def content(path: Path) -> dict[str, list[object]]:
    """Every row of a database, by table."""
    db = driver.connect(path, KEY, options="mode=ro&immutable=1")
    tables = driver.rows(db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    found = {table["name"]: list(db.table(table["name"]).rows) for table in tables}
    db.close()
    return found


async def test_a_damaged_page_ends_the_copy_unless_it_held_nothing_that_the_copy_needs(
    tmp_path: Path,
) -> None:
    """Through SQLite's backup API, SQLCipher hands out such a page as zeros, and where it held text nothing finds that again."""
    path = tmp_path / "hearth.db"
    store = await Store.open(path, KEY, clock=SystemClock())
    await store.meta.set("long", "x" * 30_000)
    await store.close()
    everything = content(path)
    whole = path.read_bytes()
    refused = 0
    for page in range(len(whole) // PAGE):
        path.write_bytes(whole)
        overwrite(path, PAGE * page + 1000, 64)
        copy = tmp_path / f"copy-{page}.db"
        create_private(copy)
        try:
            with driver.translated(path):
                driver.write_copy(path, copy, KEY, stopped=lambda: False)
        except Damaged:
            refused += 1
        else:  # a page of an index, which is made anew
            assert content(copy) == everything

    assert refused > 30_000 // PAGE


def rotten(source: Path, copy: Path, key: ResolvedKey, *, stopped: Callable[[], bool]) -> None:
    """Copies to a disk that spoils what is written."""
    driver.write_copy(source, copy, key, stopped=stopped)
    overwrite(copy, PAGE * 9 + 1000, 64)


async def test_a_copy_that_can_not_be_read_back_is_thrown_away_and_costs_no_older_one(
    store: Store, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_all_but_the_newest(monkeypatch)
    good = made_by(store, folder, clock)
    await good.make_if_due()
    before = names(folder)
    clock.advance(86_400)
    with monkeypatch.context() as patch:
        patch.setattr(backups, "write_copy", rotten)
        maker = made_by(store, folder, clock)
        assert "read back" in await sentence_of(maker, StoreProblem)

    assert names(folder) == before
    assert await good.make_if_due() is not None
    assert len(names(folder)) == 1


async def test_a_database_that_is_damaged_while_it_is_used_is_found_by_its_backup(
    tmp_path: Path, store: Store, folder: Path, clock: FakeClock
) -> None:
    folder.mkdir()
    (folder / "hearth-20260228-110000.db").write_bytes(b"an older one")
    overwrite(tmp_path / "hearth.db", PAGE * 9 + 1000, 64)

    assert "--restore-backup" in await sentence_of(made_by(store, folder, clock), Damaged)

    assert names(folder) == ["hearth-20260228-110000.db"]


async def test_with_little_room_there_is_no_backup_and_nothing_is_deleted(
    store: Store, folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_all_but_the_newest(monkeypatch)
    maker = made_by(store, folder, clock)
    await maker.make_if_due()
    clock.advance(86_400)
    size_bytes = await store.size_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(backups.shutil, "disk_usage", lambda _: Usage(0, 0, 2 * size_bytes - 1))
        assert "no room" in await sentence_of(maker, DiskFull)
        assert names(folder) == ["hearth-20260301-120000.db"]

        patch.setattr(backups.shutil, "disk_usage", lambda _: Usage(0, 0, 2 * size_bytes))
        assert await maker.make_if_due() is not None
    assert maker.problem is None
    assert names(folder) == ["hearth-20260302-120000.db"]


async def test_what_a_killed_runtime_left_half_done_is_cleared_away(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    folder.mkdir(mode=0o755)
    for name in ("hearth-20260227-120000.db.new", "hearth-20260227-120000.db.new-journal"):
        (folder / name).write_bytes(b"half")

    assert await made_by(store, folder, clock).make_if_due() is not None

    assert names(folder) == ["hearth-20260301-120000.db"]
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_file_in_the_place_of_the_folder_is_one_sentence(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    folder.write_text("mine")

    assert str(folder) in await sentence_of(made_by(store, folder, clock), StoreProblem)

    assert folder.read_text() == "mine"
    assert list_backups(folder, now=clock.now()) == []


async def test_the_newest_backup_that_opens_is_found_among_spoiled_ones(
    store: Store, folder: Path, clock: FakeClock
) -> None:
    maker = made_by(store, folder, clock)
    made = []
    for _ in range(3):
        made.append(await maker.make_if_due())
        clock.advance(86_400)
    assert made[1] is not None
    assert made[2] is not None
    os.truncate(made[2].path, PAGE * 3)
    (folder / "hearth-20260304-000000.db").mkdir()

    assert newest_that_opens(folder, KEY, now=clock.now()) == made[1]
    assert newest_that_opens(folder, OTHER_KEY, now=clock.now()) is None
    assert clock.now() - made[1].made_at == timedelta(days=2)
