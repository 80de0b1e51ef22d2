"""What the disk does to states: flipped bits, cut and swapped files, no room, and a death in the middle of a write."""

import contextlib
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.model import KvType
from engine.states.prefix_files import PrefixFiles
from engine.states.sealing import CHUNK_BYTES, PLAIN_BYTES
from engine.states.snapshots import Tier
from engine.states.spill import SpillFile
from tests.engine.snapshot_support import SETTLE_S, make_store, read, state
from tests.engine.support import ROOT

SYSTEM = list(range(50))
SIZE = 3 * PLAIN_BYTES + 77  # four chunks, the last one short
posix = pytest.mark.skipif(os.name != "posix", reason="limits and modes of files are those of POSIX")


def kept(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that has pinned one prefix and ended."""
    folder = tmp_path_factory.mktemp("written")
    store = make_store(folder)
    store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
    store.close()
    return folder


def loses_the_prefix_and_goes_on(folder: Path) -> None:
    """The only file there must not be loaded, must be gone afterwards, and the name must be free for a new one."""
    store = make_store(folder)
    assert read(store, SYSTEM) is None
    assert store.find(SYSTEM) is None
    assert not store.is_pinned(SYSTEM, "agent")
    assert kept(folder) == []
    store.check_integrity()
    store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
    store.close()
    again = make_store(folder)
    assert read(again, SYSTEM) == (len(SYSTEM), state(SYSTEM, SIZE))
    again.close()


@posix
def test_files_and_folder_are_private_also_under_a_careless_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = make_store(tmp_path / "cache")
        store.put(SYSTEM, state(SYSTEM), pin="agent")
        store.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept(tmp_path / "cache")] == [0o600]


def test_a_file_tells_nothing_without_the_key(tmp_path: Path) -> None:
    data = b"the state holds what the user wrote " * 40
    tokens = [7_301_474] * 40
    store = make_store(tmp_path)
    store.put(tokens, data, pin="tax-adviser")
    store.close()
    (path,) = kept(tmp_path)
    content = path.read_bytes()
    assert b"user wrote" not in content
    assert b"tax" not in path.name.encode() + content
    assert (7_301_474).to_bytes(4, "big") * 2 not in content


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(place=0.0, bit=0)
def test_a_flipped_bit_anywhere_loses_the_prefix_and_nothing_else(
    written: Path, tmp_path: Path, place: float, bit: int
) -> None:
    folder = tmp_path / "flipped"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(written, folder)
    (path,) = kept(folder)
    content = bytearray(path.read_bytes())
    # half of the places in the head, which is small: magic, format, salt, identity, sizes, tokens
    where = int(place * 2 * 320) if place < 0.5 else int((place - 0.5) * 2 * len(content))
    content[where] ^= 1 << bit
    path.write_bytes(content)
    if where in (8, 9):  # a higher number of the format is a newer program's file: not loaded, not removed
        store = make_store(folder)
        assert store.find(SYSTEM) is None
        store.close()
    else:
        loses_the_prefix_and_goes_on(folder)


@pytest.mark.parametrize("n_left", [0, 1, 10, 87, 88, 200, 300, CHUNK_BYTES, SIZE, -1])
def test_a_file_that_was_cut_anywhere_loses_the_prefix_and_nothing_else(
    written: Path, tmp_path: Path, n_left: int
) -> None:
    shutil.copytree(written, tmp_path / "cut")
    (path,) = kept(tmp_path / "cut")
    path.write_bytes(path.read_bytes()[:n_left])
    loses_the_prefix_and_goes_on(tmp_path / "cut")


def test_a_file_with_something_behind_its_end_is_not_loaded(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "long")
    (path,) = kept(tmp_path / "long")
    path.write_bytes(path.read_bytes() + b"\0")
    loses_the_prefix_and_goes_on(tmp_path / "long")


def test_a_file_of_a_newer_format_is_left_alone(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "newer")
    (path,) = kept(tmp_path / "newer")
    content = bytearray(path.read_bytes())
    content[8:10] = (2).to_bytes(2, "big")
    path.write_bytes(content)
    store = make_store(tmp_path / "newer")
    assert store.find(SYSTEM) is None
    store.close()
    assert path.read_bytes() == content


def test_swapped_and_renamed_files_are_not_loaded(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put([1, 2], state([1, 2]), pin="a")
    store.put([3, 4], state([3, 4]), pin="b")
    store.close()
    one, other = kept(tmp_path)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    again = make_store(tmp_path)
    assert again.find([1, 2]) is None
    assert again.find([3, 4]) is None
    assert kept(tmp_path) == []
    again.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n"},
        {"build": "b2"},
        {"kv_type": KvType.Q8_0},
        {"flash_attention": False},
        {"n_ctx": 8192},
    ],
    ids=str,
)
def test_a_file_of_other_settings_under_our_name_is_not_loaded(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    for folder, identity in (("ours", {}), ("theirs", changes)):
        store = make_store(tmp_path / folder, **identity)
        store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
        store.close()
    (ours,), (theirs,) = kept(tmp_path / "ours"), kept(tmp_path / "theirs")
    assert ours.name != theirs.name
    theirs.replace(ours)
    loses_the_prefix_and_goes_on(tmp_path / "ours")


def test_a_file_that_is_damaged_while_the_store_knows_it_is_found_once_and_never_again(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
    store.close()
    again = make_store(tmp_path)
    (path,) = kept(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    hit = again.find(SYSTEM)
    assert hit is not None
    assert hit.read() is None
    assert again.find(SYSTEM) is None
    assert kept(tmp_path) == []
    again.check_integrity()
    again.close()


def test_a_file_that_vanishes_is_a_miss(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.put(SYSTEM, state(SYSTEM), pin="agent")
    store.close()
    again = make_store(tmp_path)
    hit = again.find(SYSTEM)
    for path in kept(tmp_path):
        path.unlink()
    assert hit is not None
    assert hit.read() is None
    assert again.find(SYSTEM) is None
    again.close()


def test_strange_things_in_the_folder_harm_nobody(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(written, folder)
    (path,) = kept(folder)
    (folder / "notes.txt").write_text("mine")
    (folder / f"{'0' * 32}-{path.name.split('-')[1]}").mkdir()
    (folder / f"{'1' * 32}-{path.name.split('-')[1]}").symlink_to("/etc/passwd")
    store = make_store(folder)
    assert read(store, SYSTEM) == (len(SYSTEM), state(SYSTEM, SIZE))
    store.close()
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_had_means_no_disk_and_one_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    notes: list[str] = []
    store = make_store(tmp_path / "file", notes=notes, ram_bytes=1500)
    for token in (1, 2):
        store.put([token], state([token]), pin=str(token))
    assert read(store, [2]) == (1, state([2]))
    store.close()
    assert len(notes) == 1


def test_a_damaged_spill_is_a_miss(tmp_path: Path) -> None:
    spill = SpillFile(tmp_path)
    data = state(SYSTEM, SIZE)
    place = spill.write(data, given_up=lambda: False)
    assert place is not None
    assert spill.read(place) == data
    file = spill._file
    assert file is not None
    for offset in (0, CHUNK_BYTES + 5, 3 * CHUNK_BYTES + 77 + 15):
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 4]))
        assert spill.read(place) is None
        file.seek(offset)
        file.write(byte)
    assert spill.read(place) == data
    file.truncate(2 * CHUNK_BYTES)
    assert spill.read(place) is None
    spill.close()
    assert spill.read(place) is None


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_room_in_the_spill_file_is_used_again_and_never_twice(
    tmp_path: Path, steps: list[tuple[int, int]]
) -> None:
    spill = SpillFile(tmp_path)
    places = {}
    for slot, n_blocks in steps:
        old = places.pop(slot, None)
        if old is not None:
            spill.free(old[0])
        data = random.Random(slot).randbytes(n_blocks * PLAIN_BYTES)
        place = spill.write(data, given_up=lambda: False)
        assert place is not None
        places[slot] = (place, data)
        assert spill.used_bytes == sum(len(place.blocks) for place, _ in places.values()) * CHUNK_BYTES
        assert all(spill.read(place) == data for place, data in places.values())
    spill.close()


@contextlib.contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """The kernel refuses writes of this process beyond this size of a file, as a full disk would."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_a_full_disk_is_one_note_and_the_store_goes_on_by_itself(tmp_path: Path) -> None:
    notes: list[str] = []
    now = [0.0]
    store = make_store(tmp_path, notes=notes, clock=lambda: now[0], ram_bytes=4 * SIZE)
    with no_file_beyond(CHUNK_BYTES):
        for _ in range(5):
            store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
            assert store.settle(SETTLE_S)
            now[0] += 61.0
        assert len(notes) == 1
        assert "free some space" in notes[0]
        assert kept(tmp_path) == []
        assert read(store, SYSTEM) == (len(SYSTEM), state(SYSTEM, SIZE))
        store.put([9], state([9], 2 * SIZE))
        store.park("r", [1], state([1], 2 * SIZE))
        assert store.settle(SETTLE_S)
        assert store.unpark("r") == state([1], 2 * SIZE)
        store.check_integrity()
    now[0] += 61.0
    store.put([8], state([8]))  # nothing but the next call is needed
    assert store.settle(SETTLE_S)
    store.close()
    assert len(notes) == 1
    again = make_store(tmp_path)
    assert read(again, SYSTEM) == (len(SYSTEM), state(SYSTEM, SIZE))
    again.close()


@posix
def test_after_a_failure_the_disk_rests(tmp_path: Path) -> None:
    now = [0.0]
    store = make_store(tmp_path, clock=lambda: now[0], ram_bytes=4 * SIZE)
    with no_file_beyond(CHUNK_BYTES):
        store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
        assert store.settle(SETTLE_S)
    store.put([1], state([1]), pin="other")
    assert store.settle(SETTLE_S)
    assert kept(tmp_path) == []
    now[0] = 61.0
    store.put([1], state([1]), pin="other")
    assert store.settle(SETTLE_S)
    assert len(kept(tmp_path)) == 2
    store.close()


def test_the_limit_on_disk_holds_and_takes_the_longest_unused_prefix_first(tmp_path: Path) -> None:
    store = make_store(tmp_path, disk_bytes=3 * SIZE, ram_bytes=0)
    for age, token in enumerate((1, 2), start=1):
        store.put([token], state([token], SIZE), pin=str(token))
        assert store.settle(SETTLE_S)
        for path in kept(tmp_path):
            os.utime(path, (age, age))
    os.utime(kept(tmp_path)[0], (1, 1))
    assert read(store, [1]) is not None  # used just now
    store.put([3], state([3], SIZE), pin="3")
    assert store.settle(SETTLE_S)
    assert [token for token in (1, 2, 3) if store.find([token])] == [1, 3]
    assert store.disk_bytes <= 3 * SIZE
    store.put([4], state([4], 4 * SIZE), pin="4")  # never fits: nothing is dropped for it
    assert store.settle(SETTLE_S)
    assert [token for token in (1, 2, 3, 4) if store.find([token])] == [1, 3]
    store.check_integrity()
    store.close()


def test_forgetting_waits_for_a_write_that_is_under_way(tmp_path: Path) -> None:
    for _ in range(20):
        store = make_store(tmp_path)
        store.put(SYSTEM, state(SYSTEM, SIZE), pin="agent")
        time.sleep(random.random() * 0.01)
        store.forget("agent")
        assert kept(tmp_path) == []
        assert store.settle(SETTLE_S)
        assert kept(tmp_path) == []
        store.close()


def test_two_stores_on_one_folder_leave_each_others_unfinished_files(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path, secret=bytes(32), identity="m")
    seen: list[list[str]] = []

    def other_starts() -> bool:
        other = PrefixFiles(tmp_path, secret=bytes(32), identity="m")
        other.known()
        seen.append([path.suffix for path in kept(tmp_path)])
        return False

    part = files.write("p" * 32, b"\0\0\0\1", state([1], SIZE), given_up=other_starts)
    assert part is not None
    assert seen == [[".part"]] * 5
    files.place("p" * 32, part)
    assert files.read("p" * 32, b"\0\0\0\1") == state([1], SIZE)
    abandoned = files.write("q" * 32, b"\0\0\0\2", state([2]), given_up=lambda: False)
    assert abandoned is not None
    other_starts()
    assert not abandoned.exists()  # its writer let go of it


WRITER = """
import sys
from pathlib import Path
from tests.engine.snapshot_support import make_store, state
store = make_store(Path(sys.argv[1]), ram_bytes=20 << 20)
print("up", flush=True)
for turn in range(1_000_000):
    tokens = [7, turn]
    store.put(tokens, state(tokens, 3_000_000), pin=f"agent {turn % 4}")
    store.put([8, turn], state([8, turn], 3_000_000))
    if turn % 3 == 0:
        store.settle(5)
"""


def test_kill_9_in_the_middle_of_writes_leaves_whole_files_or_none(tmp_path: Path) -> None:
    survived = 0
    for round_number in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ},
        )
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == b"up\n"
            time.sleep(0.01 + 0.03 * round_number)
            child.kill()
            child.wait()
        store = make_store(tmp_path)
        files = kept(tmp_path)
        assert len(files) <= 4
        assert all(path.suffix == ".prefix" for path in files)
        found = {turn: hit for turn in range(400) if (hit := store.find([7, turn])) and hit.n_tokens == 2}
        assert len(found) == len(files)
        for turn, hit in found.items():
            assert hit.tier is Tier.DISK
            assert hit.read() == state([7, turn], 3_000_000)
        survived += len(found)
        store.check_integrity()
        store.close()
    assert survived > 0
