"""`hearth serve --listen` refuses what is unsafe or impossible in one sentence, before it touches the home's database."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agents.paths import HomePaths


def serve(home: Path, *options: str) -> tuple[int, str]:
    """Runs `hearth serve` until it ends by itself; the exit code and what it said."""
    ended = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "app",
            "serve",
            "--home",
            str(home),
            "--insecure-no-encryption",
            *options,
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def assert_refused(home: Path, said: str, *words: str) -> None:
    assert "Traceback" not in said
    assert said.rstrip().endswith(".")
    for word in words:
        assert word in said
    assert not HomePaths(home).database.exists()


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.168.0.9:8080", "8080"])
def test_an_address_for_other_computers_is_wrong_usage(tmp_path: Path, address: str) -> None:
    key_file = tmp_path / "key"
    code, said = serve(tmp_path / "home", "--listen", address, "--api-key-file", str(key_file))
    assert code == 2
    assert_refused(tmp_path / "home", said, "127.0.0.1:PORT")
    assert not key_file.exists()


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = serve(tmp_path / "home", "--listen", address)
    assert code == 1
    assert_refused(tmp_path / "home", said, address, "in use", "--listen")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("k" * 40)
    os.chmod(key_file, 0o644)  # noqa: PTH101
    code, said = serve(tmp_path / "home", "--listen", "127.0.0.1:0", "--api-key-file", str(key_file))
    assert code == 2
    assert_refused(tmp_path / "home", said, "chmod 600")


def test_a_key_without_a_door_is_wrong_usage(tmp_path: Path) -> None:
    code, said = serve(tmp_path / "home", "--api-key-file", str(tmp_path / "key"))
    assert code == 2
    assert "--listen" in said
