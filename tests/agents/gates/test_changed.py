"""Files under granted folders are compared by what they hold, read only when their times say so, and never outside of a grant."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.gates import survey
from agents.gates.changed import MAX_MARKS, check_changed
from agents.gates.finding import MAX_STATE_BYTES, Finding
from agents.gates.survey import Cancelled, ContentReader
from agents.triggers import ChangedGate


def write_old(path: Path, text: str, *, age_s: float = 60.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


@dataclass
class Gate:
    """One gate that is asked again and again; it was let through when it was open."""

    folder: Path
    paths: tuple[Path, ...] = ()
    state: str | None = None
    limit_files: int = 1_000
    reader: ContentReader = field(default_factory=ContentReader)

    def look(self) -> Finding:
        finding = check_changed(
            ChangedGate(paths=self.paths or (self.folder,)),
            self.state,
            read_folders=(self.folder,),
            reader=self.reader,
            cancelled=threading.Event(),
            limit_files=self.limit_files,
        )
        if finding.is_open:
            assert finding.state is not None
            assert len(finding.state.encode()) <= MAX_STATE_BYTES
            self.state = finding.state
        return finding

    def restart(self) -> None:
        self.reader = ContentReader()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    folder = tmp_path / "papers"
    for number in range(14):
        write_old(folder / f"{number}.txt", str(number))
    return Gate(folder)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose contents were looked at."""
    names: list[str] = []
    real: Any = vars(survey)["fingerprint"]

    def counted(path: Path, *args: Any, **options: Any) -> Any:
        names.append(path.name)
        return real(path, *args, **options)

    monkeypatch.setattr(survey, "fingerprint", counted)
    return names


def test_the_first_look_is_open_and_tells_how_many_files_there_are(gate: Gate) -> None:
    finding = gate.look()
    assert (finding.is_open, finding.detail) == (True, "first look at 14 files")


def test_while_nothing_changes_the_gate_is_closed_and_no_file_is_read(gate: Gate, reads: list[str]) -> None:
    gate.look()
    reads.clear()
    finding = gate.look()
    gate.restart()
    assert not gate.look().is_open
    assert (finding.is_open, finding.detail) == (False, "nothing has changed in 14 files")
    assert reads == []


def test_new_other_and_gone_files_are_counted(gate: Gate) -> None:
    gate.look()
    write_old(gate.folder / "0.txt", "different")
    write_old(gate.folder / "new" / "15.txt", "new")
    assert gate.look().detail == "2 of 15 files changed"
    (gate.folder / "1.txt").unlink()
    assert gate.look().detail == "1 of 15 files changed"
    (gate.folder / "2.txt").rename(gate.folder / "two.txt")
    assert gate.look().detail == "2 of 14 files changed"
    assert not gate.look().is_open


def test_a_touched_file_is_read_and_is_no_change(gate: Gate, reads: list[str]) -> None:
    gate.look()
    reads.clear()
    os.utime(gate.folder / "3.txt", (1, 1))
    assert [gate.look().is_open for _ in range(3)] == [False, False, False]
    assert reads == ["3.txt"]


def test_a_file_that_changes_again_in_the_same_tick_is_seen(gate: Gate) -> None:
    path = gate.folder / "fresh.txt"
    path.write_text("AAAA")
    stamp = path.stat().st_mtime_ns
    gate.look()
    path.write_text("BBBB")
    os.utime(path, ns=(stamp, stamp))
    assert gate.look().detail == "1 of 15 files changed"


def test_hidden_files_and_folders_do_not_count(gate: Gate) -> None:
    gate.look()
    write_old(gate.folder / ".cache", "x")
    write_old(gate.folder / ".git" / "index", "x")
    assert not gate.look().is_open


def test_a_single_file_can_be_named_and_its_neighbours_do_not_count(gate: Gate) -> None:
    gate.paths = (gate.folder / "0.txt",)
    assert gate.look().detail == "first look at 1 file"
    write_old(gate.folder / "1.txt", "different")
    assert not gate.look().is_open
    write_old(gate.folder / "0.txt", "different")
    assert gate.look().is_open


def test_a_folder_within_another_is_looked_at_once(gate: Gate) -> None:
    write_old(gate.folder / "deep" / "a.txt", "a")
    gate.paths = (gate.folder / "deep", gate.folder)
    assert gate.look().detail == "first look at 15 files"


@pytest.mark.parametrize("name", ["missing", "missing/deeper"])
def test_what_is_not_there_closes_the_gate_and_keeps_what_was_known(gate: Gate, name: str) -> None:
    gate.paths = (gate.folder, gate.folder / name)
    finding = gate.look()
    assert (finding.is_open, finding.state) == (False, None)
    assert finding.detail == f"{gate.folder / name} can't be looked at (No such file or directory)"


def test_an_unplugged_folder_is_no_change(gate: Gate) -> None:
    gate.look()
    aside = gate.folder.rename(gate.folder.with_name("aside"))
    assert not gate.look().is_open
    aside.rename(gate.folder)
    assert not gate.look().is_open


def test_what_lies_outside_the_grant_is_never_looked_at(gate: Gate, tmp_path: Path, reads: list[str]) -> None:
    secret = write_old(tmp_path / "secret" / "key.txt", "secret")
    (gate.folder / "out").symlink_to(secret.parent)
    (gate.folder / "key.txt").symlink_to(secret)
    for path in (
        secret,
        secret.parent,
        gate.folder / "out",
        gate.folder / "out" / "key.txt",
        gate.folder / "key.txt",
        gate.folder / ".." / "secret",
        gate.folder.parent,
    ):
        gate.paths = (path,)
        finding = gate.look()
        assert (finding.is_open, finding.state) == (False, None)
        assert finding.detail == f"{path} lies in no folder that the agent may read"
    assert reads == []


def test_links_count_by_where_they_lead_and_are_not_followed(
    gate: Gate, tmp_path: Path, reads: list[str]
) -> None:
    secret = write_old(tmp_path / "secret" / "key.txt", "secret")
    link = gate.folder / "link"
    link.symlink_to(secret.parent)
    assert gate.look().detail == "first look at 15 files"
    assert "key.txt" not in reads
    write_old(secret, "changed")
    assert not gate.look().is_open
    link.unlink()
    link.symlink_to("/somewhere/else")
    assert gate.look().detail == "1 of 15 files changed"


def test_a_folder_that_is_granted_by_a_link_is_looked_at(gate: Gate, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(gate.folder)
    other = Gate(alias)
    assert other.look().detail == "first look at 14 files"


def test_a_pipe_does_not_hold_it_up(gate: Gate) -> None:
    os.mkfifo(gate.folder / "pipe")
    assert gate.look().is_open
    assert not gate.look().is_open


def test_too_many_files_close_the_gate(gate: Gate) -> None:
    gate.limit_files = 13
    assert gate.look().detail == "more than 13 files to look at; name fewer"


def test_beyond_the_hashing_limit_size_and_time_decide_also_after_a_restart(
    gate: Gate, reads: list[str]
) -> None:
    gate.reader = ContentReader(limit_hashed_bytes=4)
    assert gate.look().is_open
    assert reads == ["0.txt", "1.txt", "10.txt"]  # of one, one and two bytes: the limit
    os.utime(gate.folder / "0.txt", (5, 5))
    gate.reader = ContentReader(limit_hashed_bytes=4)
    assert not gate.look().is_open
    os.utime(gate.folder / "9.txt", (5, 5))
    assert gate.look().is_open


def test_many_files_are_compared_without_being_listed_in_the_state(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "many")
    for number in range(MAX_MARKS + 1):
        write_old(gate.folder / f"{number}.txt", str(number))
    assert gate.look().is_open
    write_old(gate.folder / "0.txt", "different")
    assert gate.look().detail == f"something has changed in {MAX_MARKS + 1} files"


@pytest.mark.parametrize("state", ["", "{}", "not JSON", '{"digest": 1}', "[]", "null"])
def test_a_state_of_another_make_opens_the_gate_once(gate: Gate, state: str) -> None:
    gate.state = state
    assert [gate.look().is_open for _ in range(2)] == [True, False]


def test_names_that_are_no_utf8_are_compared(gate: Gate) -> None:
    path = Path(os.fsdecode(os.fsencode(gate.folder) + b"/caf\xe9.txt"))
    write_old(path, "a")
    gate.look()
    write_old(path, "b")
    assert gate.look().detail == "1 of 15 files changed"


def test_it_ends_when_nobody_waits_any_more(gate: Gate) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        check_changed(
            ChangedGate(paths=(gate.folder,)),
            None,
            read_folders=(gate.folder,),
            reader=gate.reader,
            cancelled=cancelled,
        )
