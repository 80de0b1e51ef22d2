"""A damaged database is put right from its backup when somebody asks for that, and untouched until then."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.credentials import ResolvedKey
from agents.errors import Damaged, DiskFull, HearthError, NewerSchema, WrongKey
from agents.paths import HomePaths
from agents.storage import Store, disk
from agents.storage.backups import Backups
from agents.storage.driver import connect_for_work
from agents.storage.migrations import MIGRATIONS
from agents.storage.restoring import Opened, open_or_restore
from tests.agents.conftest import FakeClock
from tests.agents.storage.databases import KEY, NO_KEY, OTHER_KEY, PASSPHRASE, fill
from tests.agents.storage.test_opening import change, leave_log_behind

PAGE = 4096
ASIDE = "hearth.db.damaged-20260303-120000"


@pytest.fixture
def home(tmp_path: Path) -> HomePaths:
    return HomePaths(tmp_path)


async def live(home: HomePaths, clock: FakeClock, key: ResolvedKey = KEY, *, runs: int = 200) -> None:
    """Two days of a home: a backup on each, and something stored after the second. It ends on the third day at noon."""
    await fill(home.database, key, runs=runs)
    for day in ("first", "second"):
        store = await Store.open(home.database, key, clock=clock)
        await store.meta.set("day", day)
        await Backups(paths=home, store=store, key=key, clock=clock).make_if_due()
        await store.close()
        clock.advance(86_400)
    store = await Store.open(home.database, key, clock=clock)
    await store.meta.set("day", "third")
    await store.close()


def snapshot(home: HomePaths) -> dict[str, str]:
    return {
        str(file.relative_to(home.root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(home.root.rglob("*"))
        if file.is_file()
    }


async def opened(home: HomePaths, clock: FakeClock, key: ResolvedKey = KEY, *, restore: bool) -> Opened:
    return await open_or_restore(home, key, clock=clock, restore=restore)


async def day_of(result: Opened) -> str | None:
    """Which day the opened database is of; closes it."""
    try:
        return await result.store.meta.get("day")
    finally:
        await result.store.close()


async def refusal(
    home: HomePaths,
    clock: FakeClock,
    kind: type[HearthError],
    key: ResolvedKey = KEY,
    *,
    restore: bool = False,
) -> str:
    """Opens a home that must be refused, checks that no byte has changed, and returns the sentence."""
    before = snapshot(home)
    with pytest.raises(kind) as caught:
        await opened(home, clock, key, restore=restore)
    assert type(caught.value) is kind
    assert snapshot(home) == before
    assert re.fullmatch(r"[A-Z][^\n]*\.", str(caught.value))
    return str(caught.value)


def overwrite(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xaa" * length)


SPOILS: dict[str, Callable[[Path], None]] = {
    "a page in the middle": lambda path: overwrite(path, PAGE * 9, PAGE * 12),
    "its beginning": lambda path: overwrite(path, 0, PAGE),
    "its end": lambda path: os.truncate(path, path.stat().st_size // 2 + 100),
    "everything": lambda path: os.truncate(path, 0),
}
spoiled = pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())


@spoiled
@pytest.mark.parametrize("key", [KEY, PASSPHRASE, NO_KEY], ids=["raw key", "passphrase", "no key"])
async def test_a_damaged_database_is_untouched_and_the_sentence_offers_its_newest_backup(
    home: HomePaths, clock: FakeClock, spoil: Callable[[Path], None], key: ResolvedKey
) -> None:
    await live(home, clock, key)
    spoil(home.database)

    sentence = await refusal(home, clock, Damaged, key)

    assert "damaged" in sentence
    assert "2026-03-02 12:00 UTC" in sentence
    assert "hearth serve --restore-backup" in sentence


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (0, "from less than a minute ago (2026-03-02 12:00 UTC)"),
        (119, "from 1 minute ago (2026-03-02 12:00 UTC)"),
        (3599, "from 59 minutes ago (2026-03-02 12:00 UTC)"),
        (3600, "from 1 hour ago (2026-03-02 12:00 UTC)"),
        (2 * 86_400 - 1, "from 47 hours ago (2026-03-02 12:00 UTC)"),
        (2 * 86_400, "from 2 days ago (2026-03-02 12:00 UTC)"),
        (-60, "of 2026-03-02 12:00 UTC"),
    ],
)
async def test_the_sentences_tell_how_old_the_backup_is(
    home: HomePaths, clock: FakeClock, age_s: float, told: str
) -> None:
    await live(home, clock)
    for older in sorted(home.backups.iterdir())[:-1]:
        older.unlink()
    os.truncate(home.database, 0)
    clock.advance(age_s - 86_400)

    assert f"its backup {told} opens" in await refusal(home, clock, Damaged)
    result = await opened(home, clock, restore=True)
    assert result.notice is not None
    assert f"its backup {told} was restored" in result.notice
    await result.store.close()


@spoiled
async def test_asked_for_the_newest_backup_takes_its_place_and_the_damaged_file_is_kept(
    home: HomePaths, clock: FakeClock, spoil: Callable[[Path], None]
) -> None:
    await live(home, clock)
    spoil(home.database)
    before = snapshot(home)

    result = await opened(home, clock, restore=True)

    assert result.notice is not None
    assert "2026-03-02 12:00 UTC" in result.notice
    assert ASIDE in result.notice
    assert await day_of(result) == "second"
    assert home.database.stat().st_mode & 0o777 == 0o600
    after = snapshot(home)
    assert after.pop("hearth.db") != before["hearth.db"]
    assert after.pop(ASIDE) == before.pop("hearth.db")
    assert after == before
    again = await opened(home, clock, restore=False)
    assert again.notice is None
    assert await day_of(again) == "second"


async def test_the_log_of_the_damaged_database_is_kept_with_it_and_not_read_into_the_backup(
    home: HomePaths, clock: FakeClock
) -> None:
    await live(home, clock)
    leave_log_behind(home.database)
    overwrite(home.database, PAGE * 9, PAGE * 12)
    before = snapshot(home)

    result = await opened(home, clock, restore=True)

    assert await result.store.meta.get("last") is None
    assert await day_of(result) == "second"
    after = snapshot(home)
    assert after[ASIDE] == before["hearth.db"]
    assert after[f"{ASIDE}-wal"] == before["hearth.db-wal"]


async def test_a_backup_that_is_damaged_too_is_passed_over(home: HomePaths, clock: FakeClock) -> None:
    await live(home, clock)
    for path in (home.database, home.backups / "hearth-20260302-120000.db"):
        overwrite(path, PAGE * 9, PAGE * 12)

    assert "2026-03-01 12:00 UTC" in await refusal(home, clock, Damaged)
    assert await day_of(await opened(home, clock, restore=True)) == "first"


@pytest.mark.parametrize("restore", [False, True])
async def test_without_a_backup_that_opens_a_damaged_database_stays_as_it_is(
    home: HomePaths, clock: FakeClock, restore: bool
) -> None:
    await live(home, clock)
    for path in (home.database, *home.backups.iterdir()):
        overwrite(path, PAGE * 9, PAGE * 12)

    sentence = await refusal(home, clock, Damaged, restore=restore)

    assert "damaged and no backup in" in sentence
    assert "restore" not in sentence


@spoiled
@pytest.mark.parametrize("key", [KEY, PASSPHRASE, NO_KEY], ids=["raw key", "passphrase", "no key"])
async def test_nobody_is_sent_to_a_backup_where_there_is_none(
    home: HomePaths, clock: FakeClock, spoil: Callable[[Path], None], key: ResolvedKey
) -> None:
    await fill(home.database, key, runs=200)
    spoil(home.database)

    with pytest.raises((Damaged, WrongKey)) as caught:
        await opened(home, clock, key, restore=False)

    assert "backup" not in str(caught.value)
    assert "--home" in str(caught.value)


@pytest.mark.parametrize("restore", [False, True])
async def test_a_wrong_key_is_no_damage(home: HomePaths, clock: FakeClock, restore: bool) -> None:
    await live(home, clock)

    await refusal(home, clock, WrongKey, OTHER_KEY, restore=restore)


@pytest.mark.parametrize("restore", [False, True])
async def test_a_newer_schema_is_no_damage(home: HomePaths, clock: FakeClock, restore: bool) -> None:
    await live(home, clock)
    change(home.database, KEY, "PRAGMA user_version = 99")

    await refusal(home, clock, NewerSchema, restore=restore)


async def test_a_sound_database_is_never_replaced(home: HomePaths, clock: FakeClock) -> None:
    await live(home, clock)

    result = await opened(home, clock, restore=True)

    assert result.notice == "The database is sound, so no backup was restored."
    assert await day_of(result) == "third"


async def test_a_new_home_needs_no_backup(home: HomePaths, clock: FakeClock) -> None:
    assert await day_of(await opened(home, clock, restore=False)) is None


async def test_no_new_database_is_begun_where_one_is_missing(home: HomePaths, clock: FakeClock) -> None:
    await live(home, clock)
    home.database.unlink()

    assert "missing" in await refusal(home, clock, Damaged)
    assert "key.json away to begin anew" in await refusal(home, clock, Damaged, OTHER_KEY, restore=True)

    result = await opened(home, clock, restore=True)
    assert result.notice is not None
    assert "missing" in result.notice
    assert await day_of(result) == "second"


@pytest.mark.parametrize("renames", range(4))
async def test_a_restore_that_is_killed_between_any_two_renames_is_done_by_the_next_start(
    home: HomePaths, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    await live(home, clock)
    leave_log_behind(home.database)
    overwrite(home.database, PAGE * 9, PAGE * 12)
    damaged = hashlib.sha256(home.database.read_bytes()).hexdigest()
    original = Path.rename
    done: list[Path] = []

    class Killed(BaseException):
        pass

    def rename(self: Path, target: Path) -> Path:
        if len(done) == renames:
            raise Killed
        done.append(self)
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        if renames < 3:
            with pytest.raises(Killed):
                await opened(home, clock, restore=True)
        else:  # the log, the database, the backup: there is no fourth
            await (await opened(home, clock, restore=True)).store.close()
    if renames < 3:
        assert "2026-03-02 12:00 UTC" in await refusal(home, clock, Damaged)

    assert await day_of(await opened(home, clock, restore=True)) == "second"
    assert damaged in snapshot(home).values()


async def test_a_disk_with_no_room_for_the_restored_file_changes_nothing(
    home: HomePaths, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(home, clock)
    overwrite(home.database, PAGE * 9, PAGE * 12)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.shutil, "copyfileobj", full)

    await refusal(home, clock, DiskFull, restore=True)


async def test_a_backup_of_an_older_version_is_updated_when_it_is_restored(
    home: HomePaths, clock: FakeClock
) -> None:
    home.backups.mkdir()
    old = home.backups / "hearth-20260301-110000.db"
    old.touch(0o600)
    db = connect_for_work(old, KEY)
    MIGRATIONS.apply(db, stop_before="m0002_conversations")
    db.close()
    home.database.write_bytes(bytes(10))

    result = await opened(home, clock, restore=True)

    await result.store.conversations.create("New things work")
    await result.store.close()
