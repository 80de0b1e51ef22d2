"""A runtime that can't serve says so in one sentence, with the right exit code, and leaves everything as it was."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import contract
from app.client import ProblemReported
from engine.builtin import built_in_embedder
from tests.integration.conftest import DIGEST, House, eventually

NOTE = "# Note\n\nAna must order a spare part by 12 May. The gauge was repaired for 100 euros.\n"


def serve(home: Path, *options: str) -> tuple[int, str]:
    """Runs the runtime until it ends by itself; the exit code and what it said."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "agents", "--home", str(home), *options],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def assert_one_sentence(said: str, *words: str) -> None:
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    assert said.rstrip().endswith(".")
    for word in words:
        assert word in said


def snapshot(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith("runtime.")
    }


def fill(path: Path) -> None:
    """Writes until the file system is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        os.close(descriptor)


def test_a_second_runtime_for_the_same_home_is_refused_and_the_first_goes_on(house: House) -> None:
    first = house.start()
    code, said = serve(house.paths.root, "--key-file", str(house.key_file))
    assert code == 1
    assert_one_sentence(said, "already running", str(first.pid), "hearth stop")
    assert house.client.status().pid == first.pid


def test_a_killed_runtime_never_blocks_the_next_one(house: House) -> None:
    first = house.start()
    house.kill()
    assert house.start().pid != first.pid


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("x")
    code, said = serve(home, "--insecure-no-encryption")
    assert code == 2
    assert_one_sentence(said, str(home))
    assert home.read_text() == "x"


def test_a_home_that_can_not_be_made_is_refused() -> None:
    code, said = serve(Path("/proc/hearth"), "--insecure-no-encryption")
    assert code == 2
    assert_one_sentence(said, "/proc/hearth")


def test_a_home_whose_socket_path_is_too_long_is_refused(tmp_path: Path) -> None:
    code, said = serve(tmp_path / ("x" * 120), "--insecure-no-encryption")
    assert code == 2
    assert_one_sentence(said, "too long", "--home")


def test_without_a_keyring_somebody_has_to_choose(tmp_path: Path) -> None:
    code, said = serve(tmp_path / "home")
    assert code == 2
    assert_one_sentence(said, "--key-file", "--insecure-no-encryption")


def test_a_wrong_key_changes_nothing(house: House) -> None:
    house.start()
    house.stop()
    before = snapshot(house.paths.root)
    other = house.key_file.with_name("other")
    house.key_file.rename(other)
    house.paths.key_info.unlink()
    before.pop(house.paths.key_info.name)
    code, said = serve(house.paths.root, "--insecure-no-encryption")
    assert code == 1
    assert_one_sentence(said)
    after = snapshot(house.paths.root)
    after.pop(house.paths.key_info.name, None)
    assert after == before


def test_a_damaged_database_changes_nothing(house: House) -> None:
    house.start()
    house.stop()
    data = bytearray(house.paths.database.read_bytes())
    data[: len(data) // 2] = os.urandom(len(data) // 2)
    house.paths.database.write_bytes(data)
    before = snapshot(house.paths.root)
    code, said = serve(house.paths.root, "--key-file", str(house.key_file))
    assert code == 1
    assert_one_sentence(said)
    assert snapshot(house.paths.root) == before


def test_a_model_that_makes_vectors_is_no_model_to_talk_to(tmp_path: Path) -> None:
    model = built_in_embedder().path
    code, said = serve(tmp_path / "home", "--insecure-no-encryption", "--model", str(model))
    assert code == 1
    assert_one_sentence(said, str(model), "choose a chat model")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no file"), (b"GGUF", "truncated"), (b"not a model" * 100, "GGUF")]
)
def test_a_model_that_can_not_be_used_is_named_and_the_runtime_serves_all_the_same(
    house: House, content: bytes | None, words: str
) -> None:
    model = house.inbox.parent / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    house.start(model=model)
    house.watch()
    house.drop("note.md", NOTE)
    [run] = house.ended()
    assert run.status == "failed"
    assert run.reason is not None
    assert run.reason.endswith(".")
    notices = house.client.status().notices
    assert run.reason in notices
    assert "model.gguf" in run.reason or words in run.reason


@pytest.mark.real
def test_bad_files_fail_with_their_reason_and_the_rest_goes_on(house: House) -> None:
    house.start()
    house.watch()
    (house.inbox / "empty.txt").touch()
    (house.inbox / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (house.inbox / "latin.txt").write_bytes(
        "Die Brücke wird am 3. Mai geöffnet. Bitte prüfen Sie die Schlösser.".encode("latin-1")
    )
    (house.inbox / "broken.pdf").write_bytes(b"%PDF-1.7\n" + os.urandom(2000))
    with (house.inbox / "huge.txt").open("wb") as file:
        file.truncate(200_000_000)
    house.drop("good.md", NOTE)
    runs = {Path(run.file or "").name: run for run in house.ended(6)}
    assert {name: run.status for name, run in runs.items()} == {
        "empty.txt": "failed",
        "binary.txt": "failed",
        "latin.txt": "succeeded",
        "broken.pdf": "failed",
        "huge.txt": "failed",
        "good.md": "succeeded",
    }
    for run in runs.values():
        if run.status == "failed":
            assert run.reason is not None
            assert Path(run.file or "").name in run.reason
            assert run.reason.endswith(".")


def test_folders_that_can_not_be_watched_are_refused(house: House) -> None:
    house.start()
    a_file = house.inbox / "file.txt"
    a_file.touch()
    for folder, word in (
        (house.inbox / "missing", "missing"),
        (a_file, "file"),
        (house.paths.root, "home"),
        (house.paths.root.parent, "home"),
    ):
        with pytest.raises(ProblemReported, match=word) as caught:
            house.client.set_folders(DIGEST, contract.FoldersChange(folders=[str(folder)]))
        assert caught.value.exit_code == 2
    assert house.client.agent(DIGEST).paused


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.real
def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(house: House) -> None:
    house.paths.root.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", str(house.paths.root)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        house.start()
        house.watch()
        filler = house.paths.root / "filler"
        fill(filler)
        house.drop("note.md", NOTE)
        eventually(
            lambda: any("disk" in notice.lower() for notice in house.client.status().notices),
            what="a notice about the full disk",
        )
        filler.unlink()
        [run] = house.ended()
        assert run.status == "succeeded"
        house.stop()
    finally:
        if house.process is not None:
            house.stop()
        for _ in range(50):
            if subprocess.run(["umount", str(house.paths.root)], check=False).returncode == 0:
                break
            time.sleep(0.1)
