"""One thread writes; a caller that gives up, or a disk that fails, never leaves half a transaction."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sqlite_utils import Database

from agents.clock import SystemClock
from agents.errors import StoreProblem, WrongKey
from agents.storage import Store
from agents.storage.driver import scalar
from agents.storage.opening import open_database
from agents.storage.writer import Writer
from tests.agents.storage.databases import KEY, OTHER_KEY, fill


def put(db: Database, key: str) -> None:
    db.execute("INSERT INTO meta (key, value) VALUES (?, 'x')", (key,))


def count(db: Database) -> int:
    return int(scalar(db, "SELECT count(*) FROM meta"))


def store_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hearth-store")]


async def opened(path: Path) -> Writer:
    writer = Writer(path)
    await writer.open(lambda: open_database(path, KEY))
    return writer


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("synchronous", 2),  # FULL: a commit is on the disk before it is acknowledged
        ("journal_mode", "wal"),
        ("locking_mode", "exclusive"),
        ("foreign_keys", 1),
        ("temp_store", 2),  # MEMORY: nothing is ever spilled in plain text
        ("busy_timeout", 5000),
    ],
)
async def test_the_connection_keeps_its_promises(tmp_path: Path, pragma: str, value: object) -> None:
    writer = await opened(tmp_path / "hearth.db")

    assert await writer.read(lambda db: scalar(db, f"PRAGMA {pragma}")) == value
    await writer.close()


async def test_a_job_that_raises_takes_back_what_it_wrote(tmp_path: Path) -> None:
    writer = await opened(tmp_path / "hearth.db")

    def job(db: Database) -> None:
        put(db, "a")
        raise LookupError("stop")

    with pytest.raises(LookupError):
        await writer.write(job)

    assert await writer.read(count) == 0
    await writer.close()


async def test_a_caller_cancelled_while_its_job_runs_gets_all_of_it_or_nothing(tmp_path: Path) -> None:
    writer = await opened(tmp_path / "hearth.db")
    half_way, go_on = threading.Event(), threading.Event()

    def job(db: Database) -> None:
        put(db, "first half")
        half_way.set()
        assert go_on.wait(10)
        put(db, "second half")

    task = asyncio.create_task(writer.write(job))
    await asyncio.to_thread(half_way.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()

    assert await writer.read(count) == 2
    await writer.close()


async def test_a_caller_cancelled_while_its_job_waits_takes_the_job_back(tmp_path: Path) -> None:
    writer = await opened(tmp_path / "hearth.db")
    busy, go_on = threading.Event(), threading.Event()

    def slow(db: Database) -> None:
        busy.set()
        assert go_on.wait(10)

    running = asyncio.create_task(writer.write(slow))
    await asyncio.to_thread(busy.wait, 10)
    waiting = asyncio.create_task(writer.write(lambda db: put(db, "never")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await running

    assert await writer.read(count) == 0
    await writer.close()


async def test_work_that_was_asked_for_before_the_close_is_done(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    writer = await opened(path)
    tasks = [asyncio.create_task(writer.write(lambda db, n=n: put(db, str(n)))) for n in range(50)]
    await asyncio.sleep(0)

    await writer.close()

    await asyncio.gather(*tasks)
    again = await opened(path)
    assert await again.read(count) == 50
    await again.close()


async def test_a_closed_store_ends_its_thread_and_says_that_it_is_closed(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "hearth.db", KEY, clock=SystemClock())
    await store.close()
    await store.close()

    assert not store_threads()
    with pytest.raises(StoreProblem, match="closed"):
        await store.meta.get("some")


async def test_a_refused_database_leaves_no_thread(tmp_path: Path) -> None:
    await fill(tmp_path / "hearth.db", KEY, runs=1)

    with pytest.raises(WrongKey):
        await Store.open(tmp_path / "hearth.db", OTHER_KEY, clock=SystemClock())
    # tests/conftest.py fails this test when the thread stays


async def test_an_opening_that_is_cancelled_closes_what_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    begun, go_on = threading.Event(), threading.Event()

    def slow_open() -> Database:
        begun.set()
        assert go_on.wait(10)
        return open_database(path, KEY)

    writer = Writer(path)
    task = asyncio.create_task(writer.open(slow_open))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()

    for thread in store_threads():
        await asyncio.to_thread(thread.join, 10)
    again = await opened(path)  # possible only because the first connection has let go of the file
    await again.close()
