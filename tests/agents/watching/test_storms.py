"""Very many files at once become one occurrence, each file in it once; and an agent is never woken by what it wrote itself."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.core import FileState
from agents.errors import DiskFull
from agents.triggers import FileTrigger, TriggerKind, trigger_key
from agents.watching import storms
from agents.watching.rules import FolderRule
from agents.watching.storms import WAIT_S, Bursts, storm_of
from tests.agents.watching.test_service import make_files, write_old

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULE = FolderRule(
    folder=Path("/inbox"),
    root=Path("/inbox"),
    patterns=("*",),
    recursive=True,
    settle_s=2.0,
    trigger_key="file_changed:1",
    storm_files=10,
)


def state_of(name: str, content_hash: str = "hash") -> FileState:
    return FileState(path=Path("/inbox") / name, size_bytes=1, mtime_ns=1, inode=1, content_hash=content_hash)


# --- how long a burst is waited for ---


@pytest.mark.parametrize(
    ("n_due", "n_moving", "waits"),
    [(10, 0, False), (11, 0, False), (5, 5, False), (5, 6, True), (0, 11, True)],
)
def test_a_burst_is_waited_for_while_some_of_its_files_move(n_due: int, n_moving: int, waits: bool) -> None:
    assert Bursts().goes_on(RULE, n_due=n_due, n_moving=n_moving, now_s=0.0) is waits


def test_a_burst_is_waited_for_only_so_long_and_the_next_one_anew() -> None:
    bursts = Bursts()
    assert bursts.limit_s is None
    for now_s, waits in ((100.0, True), (100.0 + WAIT_S - 1, True), (100.0 + WAIT_S, False)):
        assert bursts.goes_on(RULE, n_due=9, n_moving=9, now_s=now_s) is waits
    assert bursts.limit_s == 100.0 + WAIT_S
    bursts.over(RULE)
    assert bursts.limit_s is None
    assert bursts.goes_on(RULE, n_due=9, n_moving=9, now_s=500.0)


async def test_a_burst_that_was_taken_away_is_not_taken_for_the_beginning_of_the_next_one(
    stormy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts: list[Bursts] = []

    class Noted(Bursts):
        def __init__(self) -> None:
            super().__init__()
            bursts.append(self)

    monkeypatch.setattr("agents.watching.agent_watch.Bursts", Noted)
    service = await stormy.start_and_arm()
    await stormy.quiet()
    [mine] = bursts
    mine.goes_on(RULE, n_due=20, n_moving=20, now_s=0.0)
    assert mine.limit_s is not None
    write_old(stormy.folder / "1.txt", "1")
    assert await service.scan_now(1) == 1
    assert mine.limit_s is None


@given(st.permutations([state_of(name) for name in "abcd"]))
def test_the_same_versions_are_the_same_storm_in_whichever_order(states: list[FileState]) -> None:
    first = storm_of(1, RULE, [state_of(name) for name in "abcd"], due_at=NOW)
    assert storm_of(1, RULE, states, due_at=NOW) == first
    assert (first.path, first.trigger, first.trigger_key) == (
        None,
        TriggerKind.FILE_CHANGED,
        RULE.trigger_key,
    )


def test_another_version_is_another_storm() -> None:
    keys = {
        storm_of(1, RULE, states, due_at=NOW).key
        for states in (
            [state_of("a"), state_of("b")],
            [state_of("a"), state_of("b", "other")],
            [state_of("a")],
            [state_of("ab"), state_of("b")],
        )
    }
    assert len(keys) == 4


# --- in real folders ---


@pytest.fixture
def stormy(watching: Any, agent_of: Any) -> Any:
    """A watching service whose agent takes more than 20 files for a storm."""
    watching.agent = agent_of(watching.folder, storm_files=20)
    return watching


async def test_a_burst_becomes_one_occurrence_and_is_told_once(stormy: Any) -> None:
    service = await stormy.start_and_arm()
    outside = stormy.folder.parent / "burst"
    outside.mkdir()
    await asyncio.to_thread(make_files, outside, 500)
    outside.rename(stormy.folder / "burst")  # all in one moment, however slow the machine is
    await stormy.until(lambda: stormy.store.storms)
    await stormy.quiet()
    ((occurrence, states),) = stormy.store.storms
    assert sorted(state.path.name for state in states) == sorted(f"{n}.txt" for n in range(500))
    assert states[0].content_hash == hashlib.sha256(states[0].path.stem.encode()).hexdigest()
    assert occurrence.trigger_key == trigger_key(stormy.agent.definition.triggers[0])
    assert stormy.store.names() == []
    assert await service.scan_now(1) == 0
    (notice,) = stormy.notices
    assert notice.startswith(
        "500 new files came at once to the folders of Digest 1, so one run tells about all"
    )


async def test_up_to_the_limit_each_file_is_handled_by_itself(stormy: Any) -> None:
    for number in range(20):
        write_old(stormy.folder / f"{number}.txt", str(number))
    service = await stormy.start()
    assert await service.scan_now(1) == 20
    assert (len(stormy.store.names()), stormy.store.storms, stormy.notices) == (20, [], [])


async def test_a_full_folder_that_is_chosen_is_a_storm_and_counts_its_files(stormy: Any) -> None:
    service = await stormy.start_and_arm()
    for number in range(21):
        write_old(stormy.folder / f"{number}.txt", str(number))
    assert await service.scan_now(1) == 21
    assert [len(states) for _, states in stormy.store.storms] == [21]


async def test_files_that_come_in_waves_are_one_storm(stormy: Any, agent_of: Any) -> None:
    stormy.agent = agent_of(stormy.folder, storm_files=20, settle_s=1.5)
    await stormy.start_and_arm()
    for wave in range(8):
        await asyncio.to_thread(make_files, stormy.folder, 15, f"{wave}-")
        await asyncio.sleep(0.1)
    await stormy.until(lambda: len(stormy.store.all_names()) >= 120)
    await stormy.quiet()
    assert [len(states) for _, states in stormy.store.storms] == [120]
    assert stormy.store.names() == []


async def test_a_burst_without_an_end_is_told_in_parts_and_with_one_notice(
    stormy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storms, "WAIT_S", 0.5)
    await stormy.start_and_arm()
    for wave in range(20):
        await asyncio.to_thread(make_files, stormy.folder, 40, f"{wave}-")
        await asyncio.sleep(0.08)
    await stormy.until(lambda: len(stormy.store.all_names()) >= 800)
    await stormy.quiet()
    assert len(set(stormy.store.all_names())) == len(stormy.store.all_names()) == 800
    assert len(stormy.store.storms) >= 2
    assert len(stormy.notices) == 1


async def test_after_a_storm_a_single_file_is_handled_by_itself_and_the_next_storm_is_told(
    stormy: Any,
) -> None:
    await stormy.start_and_arm()
    await asyncio.to_thread(make_files, stormy.folder, 30, "first-")
    await stormy.until(lambda: len(stormy.store.storms) == 1)
    (stormy.folder / "single.txt").write_text("alone")
    await stormy.handled("single.txt")
    await asyncio.to_thread(make_files, stormy.folder, 40, "second-")
    await stormy.until(lambda: len(stormy.store.storms) == 2)
    assert [notice[:2] for notice in stormy.notices] == ["30", "40"]


async def test_a_storm_is_not_told_again_after_a_restart(stormy: Any) -> None:
    for number in range(30):
        write_old(stormy.folder / f"{number}.txt", str(number))
    await stormy.start_and_arm()
    await stormy.stop()
    await stormy.start_and_arm()
    stormy.store.files.states.clear()  # as if the runtime had died before anything was known
    await stormy.stop()
    await stormy.start_and_arm()
    assert len(stormy.store.storms) == 1
    assert len(stormy.store.files.states[1]) == 30


async def test_a_storm_that_could_not_be_stored_is_stored_later(stormy: Any) -> None:
    for number in range(30):
        write_old(stormy.folder / f"{number}.txt", str(number))
    stormy.store.refuse = DiskFull("The disk is full; free some space.")
    service = await stormy.start(reconcile_interval_s=0.1)
    await stormy.until(lambda: service.problem(1) is not None)
    stormy.store.refuse = None
    await stormy.until(lambda: stormy.store.storms)
    assert len(stormy.store.storms[0][1]) == 30
    assert stormy.notices[0] == "The disk is full; free some space."


async def test_each_trigger_has_its_own_storms(stormy: Any) -> None:
    definition = stormy.agent.definition
    one, other = stormy.folder / "one", stormy.folder / "other"
    triggers = (
        FileTrigger(folders=(one,), settle_s=0.1, storm_files=5),
        FileTrigger(folders=(other,), settle_s=0.1, storm_files=50),
    )
    stormy.agent = replace(stormy.agent, definition=replace(definition, triggers=triggers))
    for folder in (one, other):
        folder.mkdir()
        for number in range(10):
            write_old(folder / f"{number}.txt", f"{folder.name} {number}")
    await stormy.start_and_arm()
    assert [len(states) for _, states in stormy.store.storms] == [10]
    assert {state.path.parent for _, states in stormy.store.storms for state in states} == {one}
    assert len(stormy.store.names()) == 10


# --- what an agent wrote itself ---


def written(path: Path, text: str) -> tuple[Path, str]:
    write_old(path, text)
    return path, hashlib.sha256(text.encode()).hexdigest()


async def test_an_agent_is_not_woken_by_what_it_wrote_itself(watching: Any) -> None:
    watching.store.own.add(written(watching.folder / "result.md", "mine"))
    await watching.start_and_arm()
    assert watching.store.names() == []
    write_old(watching.folder / "result.md", "somebody has changed it")
    (watching.folder / "other.md").write_text("of somebody")
    await watching.handled("result.md", "other.md")


async def test_its_own_file_is_known_by_another_way_to_the_folder_and_under_another_name(
    watching: Any, tmp_path: Path
) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(watching.folder)
    path, content_hash = written(watching.folder / "result.md", "mine")
    watching.store.own.add((alias / "result.md", content_hash))
    service = await watching.start_and_arm()
    path.rename(watching.folder / "renamed.md")
    assert await service.scan_now(1) == 0
    assert watching.store.names() == []


async def test_a_copy_beside_its_own_file_is_somebodys_own_doing(watching: Any) -> None:
    own = written(watching.folder / "result.md", "mine")
    watching.store.own.add(own)
    write_old(watching.folder / "copy.md", "mine")
    await watching.start_and_arm()
    assert watching.store.names() == ["copy.md"]


async def test_its_own_files_do_not_make_a_storm(stormy: Any) -> None:
    for number in range(30):
        stormy.store.own.add(written(stormy.folder / f"{number}.md", f"mine {number}"))
    write_old(stormy.folder / "a.txt", "of somebody")
    await stormy.start_and_arm()
    assert (stormy.store.names(), stormy.store.storms) == (["a.txt"], [])
    assert len(stormy.store.files.states[1]) == 31


async def test_names_that_are_no_utf8_can_be_in_a_storm(stormy: Any) -> None:
    for number in range(30):
        path = Path(os.fsdecode(os.fsencode(stormy.folder) + f"/{number}".encode() + b"-caf\xe9.txt"))
        write_old(path, str(number))
    await stormy.start_and_arm()
    assert [len(states) for _, states in stormy.store.storms] == [30]
