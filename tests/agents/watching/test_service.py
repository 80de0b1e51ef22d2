"""Each version of a file in a watched folder is handled once, whatever happens to the file, the folder or the runtime."""

import asyncio
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.api import BaseObserver

from agents.errors import Conflict, DiskFull, NotFound
from agents.watching import agent_watch


def write_old(path: Path, text: str, *, age_s: float = 60.0) -> Path:
    """A file that was written a while ago, by its own time."""
    path.write_text(text)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


async def test_files_that_were_there_before_are_handled_newest_first(watching: Any) -> None:
    write_old(watching.folder / "old.txt", "old", age_s=300)
    write_old(watching.folder / "new.md", "new", age_s=100)
    write_old(watching.folder / "middle.txt", "middle", age_s=200)
    await watching.start()
    await watching.handled("new.md", "middle.txt", "old.txt")
    assert watching.store.names() == ["new.md", "middle.txt", "old.txt"]


async def test_a_new_file_is_noticed_and_carries_its_facts(watching: Any) -> None:
    await watching.start_and_arm()
    (watching.folder / "a.txt").write_text("hello")
    await watching.handled("a.txt")
    (occurrence,) = watching.store.occurrences
    assert occurrence.key == f"file:{watching.folder}/a.txt:{occurrence.content_hash}"
    assert occurrence.content_hash == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert occurrence.size_bytes == 5
    assert occurrence.due_at.tzinfo is not None


async def test_files_of_other_kinds_and_temporary_files_are_left_alone(watching: Any) -> None:
    for name in (
        "a.jpg",
        ".hidden.txt",
        "~$letter.txt",
        "a.txt.part",
        "b.txt.crdownload",
        ".~lock.a.txt#",
        "c.tmp",
    ):
        write_old(watching.folder / name, "x")
    hidden = watching.folder / ".git"
    hidden.mkdir()
    write_old(hidden / "notes.txt", "x")
    write_old(watching.folder / "REPORT.TXT", "x")
    await watching.start()
    await watching.handled("REPORT.TXT")


async def test_a_file_is_handled_only_when_it_rests(watching: Any, agent_of: Any) -> None:
    service = await watching.start([agent_of(watching.folder, settle_s=1.0)])
    await service.scan_now(1)
    with (watching.folder / "slow.txt").open("w") as file:
        for _ in range(25):
            file.write("more\n")
            file.flush()
            await asyncio.sleep(0.05)
            assert watching.store.names() == []
    await watching.handled("slow.txt")
    assert watching.store.occurrences[0].size_bytes == 125


async def test_each_version_is_handled_once_and_an_old_one_not_again(watching: Any) -> None:
    path = watching.folder / "a.txt"
    await watching.start_and_arm()
    for text, versions in (("A", 1), ("B", 2), ("A", 2)):
        path.write_text(text)
        await watching.handled(*["a.txt"] * versions)


async def test_a_touch_is_no_new_version(watching: Any) -> None:
    path = watching.folder / "a.txt"
    path.write_text("same")
    await watching.start()
    await watching.handled("a.txt")
    path.touch()
    os.utime(path, (1, 1))
    await watching.handled("a.txt")
    await watching.until(lambda: watching.store.files.states[1][path].mtime_ns == 1_000_000_000)


async def test_an_editors_atomic_save_is_one_new_version(watching: Any) -> None:
    path = write_old(watching.folder / "a.txt", "before")
    await watching.start()
    await watching.handled("a.txt")
    temporary = watching.folder / ".a.txt.swp"
    temporary.write_text("after")
    temporary.replace(path)
    await watching.handled("a.txt", "a.txt")


async def test_a_file_moved_in_from_elsewhere_is_handled(watching: Any, tmp_path: Path) -> None:
    outside = write_old(tmp_path / "a.txt", "moved")
    await watching.start_and_arm()
    outside.rename(watching.folder / "a.txt")
    await watching.handled("a.txt")


async def test_a_folder_moved_in_brings_its_files(watching: Any, tmp_path: Path) -> None:
    outside = tmp_path / "project" / "deep"
    outside.mkdir(parents=True)
    write_old(outside / "a.txt", "moved")
    await watching.start_and_arm()
    (tmp_path / "project").rename(watching.folder / "project")
    await watching.handled("a.txt")


async def test_a_renamed_file_is_not_handled_again_but_a_copy_is(watching: Any) -> None:
    path = write_old(watching.folder / "a.txt", "content")
    await watching.start()
    await watching.handled("a.txt")
    path.rename(watching.folder / "b.txt")
    await watching.handled("a.txt")
    assert set(watching.store.files.states[1]) == {watching.folder / "b.txt"}
    write_old(watching.folder / "a copy.txt", "other")
    await watching.handled("a.txt", "a copy.txt")
    (watching.folder / "twin.txt").write_text("other")
    await watching.handled("a.txt", "a copy.txt", "twin.txt")


async def test_what_arrives_while_nobody_watches_is_handled_at_the_next_start(watching: Any) -> None:
    path = write_old(watching.folder / "a.txt", "first")
    await watching.start()
    await watching.handled("a.txt")
    await watching.stop()
    write_old(path, "second", age_s=30)
    write_old(watching.folder / "b.txt", "new")
    await watching.start()
    await watching.handled("a.txt", "a.txt", "b.txt")


async def test_a_restart_alone_handles_nothing_and_reads_nothing(
    watching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_old(watching.folder / "a.txt", "first")
    await watching.start()
    await watching.handled("a.txt")
    await watching.stop()
    monkeypatch.setattr(
        "agents.watching.agent_watch.fingerprint", lambda *_, **__: pytest.fail("it was read")
    )
    await watching.start_and_arm()
    await watching.handled("a.txt")
    assert watching.service.problem(1) is None


async def test_a_lost_file_state_is_no_second_run(watching: Any) -> None:
    write_old(watching.folder / "a.txt", "first")
    await watching.start()
    await watching.handled("a.txt")
    await watching.stop()
    watching.store.files.states.clear()
    service = await watching.start()
    assert await service.scan_now(1) == 0
    await watching.handled("a.txt")


async def test_a_removed_folder_is_a_problem_until_it_is_back(watching: Any) -> None:
    path = write_old(watching.folder / "a.txt", "first")
    service = await watching.start(reconcile_interval_s=0.2)
    await watching.handled("a.txt")
    path.unlink()
    watching.folder.rmdir()
    await watching.until(lambda: service.problem(1) is not None)
    assert service.problem(1) == (
        f"The folder {watching.folder} does not exist; create it or choose another one."
    )
    watching.folder.mkdir()
    write_old(watching.folder / "b.txt", "second")
    await watching.until(lambda: service.problem(1) is None)
    await watching.handled("a.txt", "b.txt")


async def test_a_folder_that_came_back_is_watched_by_hints_again(watching: Any) -> None:
    service = await watching.start_and_arm()
    watching.folder.rmdir()
    watching.folder.mkdir()
    await service.scan_now(1)
    (watching.folder / "a.txt").write_text("hello")
    await watching.handled("a.txt")


async def test_an_unplugged_folder_keeps_what_is_known_of_it(
    watching: Any, tmp_path: Path, agent_of: Any
) -> None:
    other = tmp_path / "stick"
    other.mkdir()
    write_old(other / "a.txt", "first")
    service = await watching.start([agent_of(watching.folder, other)])
    await watching.handled("a.txt")
    other.rename(tmp_path / "unplugged")
    write_old(watching.folder / "b.txt", "the other folder goes on")
    assert await service.scan_now(1) == 1
    assert "stick does not exist" in service.problem(1)
    assert other / "a.txt" in watching.store.files.states[1]


async def test_scan_now_handles_at_once_what_is_old_and_counts_it(watching: Any) -> None:
    service = await watching.start_and_arm()
    write_old(watching.folder / "a.txt", "a")
    write_old(watching.folder / "b.txt", "b")
    assert await service.scan_now(1) == 2
    assert await service.scan_now(1) == 0
    await watching.handled("a.txt", "b.txt")


async def test_paused_and_unknown_agents_are_not_scanned(watching: Any) -> None:
    write_old(watching.folder / "a.txt", "a")
    service = await watching.start([replace(watching.agent, paused=True)])
    with pytest.raises(Conflict, match="Digest 1 is paused; resume it first"):
        await service.scan_now(1)
    with pytest.raises(NotFound):
        await service.scan_now(99)
    await watching.quiet()
    assert watching.store.names() == []
    await service.set_agents([watching.agent])
    await watching.handled("a.txt")


async def test_a_revision_with_other_folders_moves_the_watch(
    watching: Any, tmp_path: Path, agent_of: Any
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    service = await watching.start_and_arm()
    await service.set_agents([agent_of(other, revision_id=2)])
    await service.scan_now(1)
    write_old(watching.folder / "unwatched.txt", "x")
    (other / "a.txt").write_text("a")
    await watching.handled("a.txt")


async def test_two_agents_on_one_folder_each_get_the_file(watching: Any, agent_of: Any) -> None:
    service = await watching.start([agent_of(watching.folder), agent_of(watching.folder, agent_id=2)])
    await service.scan_now(1)
    await service.scan_now(2)
    (watching.folder / "a.txt").write_text("a")
    await watching.handled("a.txt", "a.txt")
    assert {occurrence.agent_id for occurrence in watching.store.occurrences} == {1, 2}
    await service.set_agents([agent_of(watching.folder, agent_id=2)])
    (watching.folder / "b.txt").write_text("b")
    await watching.handled("a.txt", "a.txt", "b.txt")


async def test_an_agent_without_folders_says_so(watching: Any, agent_of: Any) -> None:
    service = await watching.start([agent_of()])
    assert service.problem(1) == "No folder is chosen; choose one for it to watch."
    assert await service.scan_now(1) == 0


async def test_links_and_pipes_are_not_followed(watching: Any, tmp_path: Path) -> None:
    secret = write_old(tmp_path / "secret.txt", "secret")
    (watching.folder / "link.txt").symlink_to(secret)
    (watching.folder / "linked").symlink_to(tmp_path)
    os.mkfifo(watching.folder / "pipe.txt")
    write_old(watching.folder / "a.txt", "a")
    await watching.start(reconcile_interval_s=0.2)
    await watching.handled("a.txt")


async def test_a_folder_chosen_by_a_link_is_watched(watching: Any, tmp_path: Path, agent_of: Any) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(watching.folder)
    service = await watching.start([agent_of(alias)])
    await service.scan_now(1)
    (watching.folder / "a.txt").write_text("a")
    await watching.handled("a.txt")
    assert watching.store.occurrences[0].path == alias / "a.txt"


async def test_a_home_inside_the_folder_is_never_scanned(watching: Any, agent_of: Any) -> None:
    write_old(watching.home / "notes.txt", "mine")
    service = await watching.start([agent_of(watching.home.parent)])
    assert await service.scan_now(1) == 0
    assert "contains Hearth's own home" in service.problem(1)


async def test_names_that_are_no_utf8_are_handled(watching: Any) -> None:
    path = Path(os.fsdecode(os.fsencode(watching.folder) + b"/caf\xe9.txt"))
    await watching.start_and_arm()
    path.write_text("hello")
    await watching.handled(path.name)


async def test_a_huge_file_is_reported_without_being_read(watching: Any) -> None:
    path = watching.folder / "huge.txt"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    os.utime(path, (1, 1))
    service = await watching.start(reconcile_interval_s=0.1)
    await watching.handled("huge.txt")
    assert watching.store.occurrences[0].content_hash == f"unread:{200 * 1024 * 1024}:1000000000"
    assert await service.scan_now(1) == 0


async def test_a_file_that_changes_while_it_is_read_settles_again(
    watching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.watching import agent_watch

    real, path, reads = agent_watch.fingerprint, watching.folder / "a.txt", 0

    def meddle(*args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 1:
            path.write_text("changed between the look and the read")
        return real(*args, **options)

    monkeypatch.setattr(agent_watch, "fingerprint", meddle)
    write_old(path, "first")
    await watching.start()
    await watching.handled("a.txt")
    assert watching.store.occurrences[0].size_bytes == len("changed between the look and the read")


async def test_a_full_disk_is_told_once_and_nothing_is_lost(watching: Any) -> None:
    service = await watching.start(reconcile_interval_s=0.1)
    watching.store.refuse = DiskFull("The disk is full; free some space.")
    write_old(watching.folder / "a.txt", "a")
    await watching.until(lambda: service.problem(1) is not None)
    await asyncio.sleep(0.4)
    assert watching.notices == ["The disk is full; free some space."]
    watching.store.refuse = None
    await watching.handled("a.txt")
    assert service.problem(1) is None


async def test_an_agent_that_was_just_removed_is_nothing_to_tell(watching: Any) -> None:
    service = await watching.start_and_arm()
    watching.store.refuse = NotFound("There is no such agent.")
    write_old(watching.folder / "a.txt", "a")
    await watching.quiet()
    assert (service.problem(1), watching.notices) == (None, [])


async def test_a_folder_with_too_many_files_is_watched_in_part_and_told_once(watching: Any) -> None:
    for number in range(30):
        write_old(watching.folder / f"{number}.txt", str(number))
    service = await watching.start_and_arm(limit_files=20, reconcile_interval_s=0.1)
    await watching.until(lambda: len(watching.store.names()) == 20)
    await service.scan_now(1)
    assert watching.notices == [
        "Digest 1 watches only the first 20 files of its folders; choose smaller folders."
    ]


def no_notifications() -> BaseObserver:
    raise OSError(24, "inotify instance limit reached")


async def test_without_notifications_files_are_found_by_looking(
    watching: Any, agent_of: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    agents = [agent_of(watching.folder), agent_of(other, agent_id=2)]
    await watching.start(agents, reconcile_interval_s=0.2, make_observer=no_notifications)
    (watching.folder / "a.txt").write_text("a")
    (other / "b.txt").write_text("b")
    await watching.handled("a.txt", "b.txt")
    (notice,) = watching.notices
    assert "looks for new files every 0.2 seconds" in notice


async def test_looks_are_told_when_they_have_ended(watching: Any) -> None:
    service = await watching.start(reconcile_interval_s=0.2)
    first, due = service.last_tick, service.next_tick
    assert 0 <= (due - first).total_seconds() <= 0.21
    await watching.until(lambda: service.last_tick > first and service.next_tick > due)


async def test_a_look_that_hangs_is_no_look_and_the_agent_that_waits_longest_counts(
    watching: Any, agent_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    agents = [agent_of(watching.folder), agent_of(other, agent_id=2)]
    service = await watching.start(agents, reconcile_interval_s=0.1)
    go_on = threading.Event()
    real = agent_watch.scan_folders

    def hang_in_other(rules: Any, **options: Any) -> Any:
        if any(rule.folder == other for rule in rules):
            go_on.wait(20)
        return real(rules, **options)

    monkeypatch.setattr(agent_watch, "scan_folders", hang_in_other)
    try:
        for _ in range(4):  # looks that had begun before are over by then
            due = service.next_tick
            await watching.until(lambda due=due: service.next_tick > due)
        stale = service.last_tick
        for _ in range(4):
            due = service.next_tick
            await watching.until(lambda due=due: service.next_tick > due)
        assert service.last_tick == stale
    finally:
        go_on.set()
    await watching.until(lambda: service.last_tick > stale)


async def test_with_nothing_to_watch_there_is_no_last_look(watching: Any) -> None:
    service = await watching.start([replace(watching.agent, paused=True)])
    assert service.last_tick is None


async def test_a_burst_of_files_is_handled_completely_and_in_few_looks(
    watching: Any, agent_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.watching.agent_watch import AgentWatch

    looks = 0
    real = AgentWatch.look_at_hints

    async def counted(self: AgentWatch) -> int:
        nonlocal looks
        looks += 1
        return await real(self)

    monkeypatch.setattr(AgentWatch, "look_at_hints", counted)
    watching.agent = agent_of(watching.folder, storm_files=100_000)  # each by itself
    await watching.start_and_arm()
    await asyncio.to_thread(make_files, watching.folder, 2_000)
    await watching.until(lambda: len(watching.store.names()) >= 2_000, timeout_s=30)
    await watching.quiet()
    assert len(watching.store.names()) == len(set(watching.store.names())) == 2_000
    assert looks < 200


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("storm_files", [200, 100_000], ids=["in storms", "each by itself"])
async def test_a_flood_of_files_in_many_folders_is_handled_completely(
    watching: Any, agent_of: Any, storm_files: int
) -> None:
    watching.agent = agent_of(watching.folder, storm_files=storm_files)
    await watching.start_and_arm(reconcile_interval_s=5.0)
    for batch in range(20):
        folder = watching.folder / str(batch) / "deep"
        folder.mkdir(parents=True)
        await asyncio.to_thread(make_files, folder, 1_000, f"{batch}-")
    await watching.until(lambda: len(watching.store.all_names()) >= 20_000, timeout_s=300)
    await watching.quiet()
    assert len(watching.store.all_names()) == len(set(watching.store.all_names())) == 20_000
    if storm_files == 200:
        assert len(watching.store.storms) <= 10
        assert len(watching.store.names()) <= 200


def make_files(folder: Path, count: int, prefix: str = "") -> None:
    for number in range(count):
        (folder / f"{prefix}{number}.txt").write_text(f"{prefix}{number}")


async def test_a_look_that_is_asked_for_finds_what_no_event_told(
    watching: Any,
) -> None:
    service = await watching.start(make_observer=no_notifications)
    began_at = service.last_tick
    await watching.until(lambda: service.last_tick > began_at)  # its first look is over
    (watching.folder / "a.txt").write_text("a")
    await asyncio.sleep(0.3)
    assert watching.store.names() == []
    service.look_again()
    await watching.handled("a.txt")
