"""A home belongs to one runtime, for exactly as long as that runtime lives."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.errors import AlreadyRunning, HomeProblem
from agents.home import HomeLock
from agents.paths import HomePaths

OWNER = """
import os, subprocess, sys, time
from pathlib import Path
from agents.home import HomeLock
from agents.paths import HomePaths

with HomeLock(HomePaths(Path(sys.argv[1]))):
    how = sys.argv[2]
    if how == "exec":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        print(child.pid, flush=True)
        time.sleep(60)
    elif how == "fork":
        if os.fork() == 0:
            print(os.getpid(), flush=True)
        time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> HomePaths:
    return HomePaths(tmp_path / "home")


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """Runs the test without root's power over every file; yields a folder that nobody owns."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)
            os.setegid(0)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_home_is_private_under_a_loose_umask(home: HomePaths) -> None:
    before = os.umask(0o022)
    try:
        with HomeLock(home):
            assert mode(home.root) == 0o700
            assert {path.name: mode(path) for path in home.root.iterdir()} == {
                "runtime.lock": 0o600,
                "runtime.pid": 0o600,
            }
    finally:
        os.umask(before)


def test_a_home_below_folders_that_do_not_exist_is_made(tmp_path: Path) -> None:
    home = HomePaths(tmp_path / "a" / "b" / "home")

    with HomeLock(home):
        assert mode(home.root) == 0o700


def test_a_home_of_ours_that_became_open_to_others_is_closed_again(home: HomePaths) -> None:
    with HomeLock(home):
        pass
    home.root.chmod(0o755)

    with HomeLock(home):
        assert mode(home.root) == 0o700


def test_a_folder_with_other_things_in_it_keeps_its_rights_and_is_refused(home: HomePaths) -> None:
    home.root.mkdir(mode=0o755)
    (home.root / "letter.txt").touch()

    with pytest.raises(HomeProblem, match="holds other files"):
        HomeLock(home).__enter__()

    assert mode(home.root) == 0o755
    assert [path.name for path in home.root.iterdir()] == ["letter.txt"]


def test_a_second_owner_is_refused_with_the_first_ones_number(home: HomePaths) -> None:
    with HomeLock(home), pytest.raises(AlreadyRunning) as caught:
        HomeLock(home).__enter__()

    assert str(caught.value) == (
        f"Hearth is already running for {home.root} (process {os.getpid()}); use `hearth stop` first or name another "
        "home with --home."
    )


def test_the_lock_decides_and_not_the_pid_file(home: HomePaths) -> None:
    with HomeLock(home):
        home.owner.unlink()
        with pytest.raises(AlreadyRunning, match=r"is already running for [^(]*; use"):
            HomeLock(home).__enter__()
    home.owner.write_text("1\n")

    with HomeLock(home):
        assert home.owner.read_text() == f"{os.getpid()}\n"


def test_a_home_that_was_left_is_free(home: HomePaths) -> None:
    with pytest.raises(LookupError), HomeLock(home):
        raise LookupError

    with HomeLock(home):
        pass
    assert not home.owner.exists()


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX word")
@pytest.mark.parametrize("how", ["exec", "fork"])
def test_a_killed_owner_frees_its_home_although_its_child_lives_on(home: HomePaths, how: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, home.root, how], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    try:
        with pytest.raises(AlreadyRunning, match=f"process {owner.pid}"):
            HomeLock(home).__enter__()
        owner.kill()
        owner.wait(10)
        os.kill(child, 0)

        with HomeLock(home):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        owner.kill()
        owner.wait(10)
        owner.stdout.close()


def test_a_file_in_the_homes_place_is_refused(home: HomePaths) -> None:
    home.root.write_text("not a folder")

    with pytest.raises(HomeProblem, match="is not a directory"):
        HomeLock(home).__enter__()

    assert home.root.read_text() == "not a folder"


def test_a_home_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(HomeProblem, match="is not a directory"):
        HomeLock(HomePaths(tmp_path / "file" / "deeper" / "home")).__enter__()


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    home = HomePaths(tmp_path / ("h" * 120))

    with pytest.raises(HomeProblem, match="too long for a socket"):
        HomeLock(home).__enter__()

    assert not home.root.exists()


def test_a_home_that_cannot_be_written_is_refused(as_nobody: Path) -> None:
    home = HomePaths(as_nobody / "home")
    home.root.mkdir(mode=0o500)

    with pytest.raises(HomeProblem, match="is not writable"):
        HomeLock(home).__enter__()


def test_a_home_in_a_folder_that_cannot_be_written_is_refused(as_nobody: Path) -> None:
    as_nobody.chmod(0o500)

    with pytest.raises(HomeProblem, match="is not writable"):
        HomeLock(HomePaths(as_nobody / "home")).__enter__()


def test_a_home_of_another_user_is_refused(as_nobody: Path) -> None:
    os.seteuid(0)
    (as_nobody / "home").mkdir(mode=0o777)
    (as_nobody / "home").chmod(0o777)
    os.seteuid(65534)

    with pytest.raises(HomeProblem, match="belongs to another user"):
        HomeLock(HomePaths(as_nobody / "home")).__enter__()


def test_a_home_on_a_full_disk_is_refused_and_free_again_later(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted only by root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        ballast = tmp_path / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(1 << 20))
        with pytest.raises(HomeProblem, match="no space left"):
            HomeLock(HomePaths(tmp_path / "home")).__enter__()
        ballast.unlink()

        with HomeLock(HomePaths(tmp_path / "home")):
            pass
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_client_that_looks_at_the_lock_does_not_keep_the_runtime_from_starting(home: HomePaths) -> None:
    home.root.mkdir(mode=0o700)
    looking = os.open(home.lock, os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    away = threading.Timer(0.1, lambda: os.close(looking))
    away.start()
    with HomeLock(home):
        away.join()
