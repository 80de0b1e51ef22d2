"""A full disk is one sentence, loses nothing that was acknowledged, and is over when there is space again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.clock import SystemClock
from agents.errors import DiskFull
from agents.paths import HomePaths
from agents.storage import Store, backups
from agents.storage.backups import Backups
from tests.agents.storage.databases import KEY, count_pending, fill, occurrence

DISK_BYTES = 3 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted only by root on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", tmp_path],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill_up(disk: Path, *, leave_bytes: int = 0) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(b"x" * max(0, free - leave_bytes))
    return ballast


async def write_until_full(store: Store) -> int:
    """Stores notes until one is refused; returns how many were acknowledged."""
    for number in range(10_000):
        try:
            await store.meta.set(f"note {number}", "x" * 5_000)
        except DiskFull:
            return number
    pytest.fail("the disk never became full")


async def test_a_write_without_space_is_refused_whole_and_works_once_there_is_space(small_disk: Path) -> None:
    store = await Store.open(small_disk / "hearth.db", KEY, clock=SystemClock())
    ballast = fill_up(small_disk, leave_bytes=200_000)
    acknowledged = await write_until_full(store)
    assert acknowledged > 0

    assert await store.meta.get(f"note {acknowledged}") is None
    assert await store.meta.get(f"note {acknowledged - 1}") is not None
    ballast.unlink()
    await store.meta.set("after", "all is well")
    await store.close()

    again = await Store.open(small_disk / "hearth.db", KEY, clock=SystemClock())
    for number in range(acknowledged):
        assert await again.meta.get(f"note {number}") == "x" * 5_000
    assert await again.meta.get("after") == "all is well"
    await again.close()


async def test_a_store_closed_on_a_full_disk_has_everything_at_the_next_start(small_disk: Path) -> None:
    path = small_disk / "hearth.db"
    await fill(path, KEY, runs=5)
    store = await Store.open(path, KEY, clock=SystemClock())
    [agent] = await store.agents.list()
    for number in range(20):
        assert await store.runs.record(occurrence(agent.id, f"late {number}")) is not None
    ballast = fill_up(small_disk)

    await store.close()

    ballast.unlink()
    assert await count_pending(path, KEY) == 25


async def test_a_home_without_space_gets_no_database(small_disk: Path) -> None:
    ballast = fill_up(small_disk, leave_bytes=8_192)

    with pytest.raises(DiskFull):
        await Store.open(small_disk / "hearth.db", KEY, clock=SystemClock())

    assert [file.name for file in small_disk.iterdir()] == ["ballast"]
    ballast.unlink()
    await fill(small_disk / "hearth.db", KEY, runs=1)


async def test_a_disk_that_fills_up_under_a_backup_keeps_the_older_one_and_the_store_works_on(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = HomePaths(small_disk)
    await fill(paths.database, KEY)
    paths.backups.mkdir()
    (paths.backups / "hearth-20200101-000000.db").write_bytes(b"an older one")
    store = await Store.open(paths.database, KEY, clock=SystemClock())
    maker = Backups(paths=paths, store=store, key=KEY, clock=SystemClock())
    ballast = fill_up(small_disk, leave_bytes=60_000)
    free = os.statvfs(small_disk).f_bavail
    with monkeypatch.context() as patch:
        patch.setattr(backups.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))

        with pytest.raises(DiskFull, match="no room for a backup"):
            await maker.make_if_due()

    assert [file.name for file in paths.backups.iterdir()] == ["hearth-20200101-000000.db"]
    assert os.statvfs(small_disk).f_bavail == free
    await store.meta.set("small", "thing")
    ballast.unlink()
    assert await maker.make_if_due() is not None
    await store.close()
