"""Hints: gathered per agent, few wake-ups, and folders that were replaced are watched anew."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.watching.rules import FolderRule
from agents.watching.watcher import MAX_PATHS, FolderWatcher, Hints


class Hinted:
    """A watcher, and the agents that it woke."""

    def __init__(self) -> None:
        self.woken: list[int] = []
        self.watcher = FolderWatcher(on_hint=self.woken.append)

    def collect(self, agent_id: int, enough: Callable[[Hints], bool]) -> Hints:
        """All hints for the agent until they are enough."""
        paths: frozenset[Path] = frozenset()
        everything, deadline = False, time.monotonic() + 10
        while True:
            hints = self.watcher.take(agent_id)
            paths, everything = paths | hints.paths, everything or hints.everything
            if enough(Hints(paths=paths, everything=everything)):
                return Hints(paths=paths, everything=everything)
            assert time.monotonic() < deadline, f"only {paths}"
            time.sleep(0.01)


@pytest.fixture
def hinted() -> Iterator[Hinted]:
    hinted = Hinted()
    yield hinted
    hinted.watcher.stop()


def rule(folder: Path, *, recursive: bool = True) -> FolderRule:
    return FolderRule(
        folder=folder,
        root=folder,
        patterns=("*",),
        recursive=recursive,
        settle_s=1.0,
        trigger_key="file_changed:1",
        storm_files=200,
    )


def test_a_written_and_a_renamed_file_are_hinted_at(hinted: Hinted, tmp_path: Path) -> None:
    assert hinted.watcher.arm(1, [rule(tmp_path)]) == []
    (tmp_path / "a.txt").write_text("a")
    hinted.collect(1, lambda hints: tmp_path / "a.txt" in hints.paths)
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    hinted.collect(1, lambda hints: {tmp_path / "a.txt", tmp_path / "b.txt"} <= hints.paths)


def test_reading_a_file_hints_at_nothing(hinted: Hinted, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    hinted.watcher.arm(1, [rule(tmp_path)])
    (tmp_path / "a.txt").read_text()
    (tmp_path / "marker.txt").write_text("b")
    hints = hinted.collect(1, lambda hints: bool(hints.paths))
    assert hints.paths == {tmp_path / "marker.txt"}


def test_an_agent_is_woken_once_until_its_hints_are_taken(hinted: Hinted) -> None:
    for number in range(10):
        hinted.watcher.hint([1, 2], [Path(f"/inbox/{number}")])
    assert hinted.woken == [1, 2]
    assert len(hinted.watcher.take(1).paths) == 10
    assert hinted.watcher.take(1) == Hints()
    hinted.watcher.hint([1], [Path("/inbox/x")])
    assert hinted.woken == [1, 2, 1]


def test_thousands_of_hints_become_a_look_at_everything(hinted: Hinted) -> None:
    hinted.watcher.hint([1], [Path(f"/inbox/{number}") for number in range(MAX_PATHS + 1)])
    hinted.watcher.hint([1], [Path("/inbox/one more")])
    assert hinted.watcher.take(1) == Hints(everything=True)


def test_a_new_folder_is_a_look_at_everything(hinted: Hinted, tmp_path: Path) -> None:
    hinted.watcher.arm(1, [rule(tmp_path)])
    (tmp_path / "new").mkdir()
    hinted.collect(1, lambda hints: hints.everything)


def test_a_folder_that_was_replaced_is_watched_anew(hinted: Hinted, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    hinted.watcher.arm(1, [rule(folder)])
    folder.rename(tmp_path / "moved away")
    folder.mkdir()
    hinted.watcher.arm(1, [rule(folder)])
    (folder / "a.txt").write_text("a")
    hinted.collect(1, lambda hints: folder / "a.txt" in hints.paths)


def test_two_agents_share_a_watch_and_one_may_leave(hinted: Hinted, tmp_path: Path) -> None:
    hinted.watcher.arm(1, [rule(tmp_path)])
    before = threading.active_count()
    hinted.watcher.arm(2, [rule(tmp_path)])
    assert threading.active_count() == before
    hinted.watcher.disarm(1)
    (tmp_path / "a.txt").write_text("a")
    hinted.collect(2, lambda hints: tmp_path / "a.txt" in hints.paths)
    assert hinted.watcher.take(1) == Hints()


def test_a_missing_folder_is_nothing_to_complain_about(hinted: Hinted, tmp_path: Path) -> None:
    assert hinted.watcher.arm(1, [rule(tmp_path / "missing")]) == []
