"""Nothing of the user's text lies in the clear, nothing listens on the network, and only the owner may look."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents import contract
from tests.integration.conftest import House, eventually

CANARY = "zebracanary"
NOTE = f"# The {CANARY} plan\n\nAna must order a {CANARY} part by 12 May. The {CANARY} gauge was repaired.\n"


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def clear_places(folder: Path) -> list[str]:
    return [str(path) for path in files_below(folder) if CANARY.encode() in path.read_bytes()]


def work_with_the_canary(house: House) -> None:
    house.watch()
    house.drop(f"{CANARY}.md", NOTE)
    (house.inbox / f"{CANARY}.txt").write_bytes(bytes(range(256)))  # fails, and its reason names the file
    runs = house.ended(2)
    assert {run.status for run in runs} == {"succeeded", "failed"}
    request = contract.ChatRequest(text=f"What is a {CANARY}?", max_tokens=20)
    assert any(isinstance(event, contract.ChatDone) for event in house.client.chat(request))


@pytest.mark.real
def test_the_users_text_is_in_no_file_of_the_home_while_it_runs_after_a_kill_and_after_a_stop(
    house: House,
) -> None:
    house.start()
    work_with_the_canary(house)
    assert clear_places(house.paths.root) == []
    house.kill()
    assert clear_places(house.paths.root) == []
    house.start()
    house.stop()
    assert clear_places(house.paths.root) == []


@pytest.mark.real
def test_a_home_without_encryption_still_keeps_the_log_clean(house: House) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "agents",
        "--home",
        str(house.paths.root),
        "--insecure-no-encryption",
    ]
    house.process = subprocess.Popen(command, stderr=subprocess.PIPE)
    eventually(house.paths.socket.exists, what="the socket")
    work_with_the_canary(house)
    assert house.client.status().encrypted is False
    assert house.process.stderr is not None
    house.process.terminate()
    said = house.process.stderr.read()
    house.process.stderr.close()
    house.stop()
    assert CANARY.encode() not in said
    assert [place for place in clear_places(house.paths.root) if "/logs/" in place] == []


@pytest.mark.real
def test_no_process_listens_on_the_network_and_the_engine_has_no_secret_around_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", CANARY)
    house.start()
    pid = eventually(lambda: house.client.status().engine.pid, what="the engine's start")
    assert house.process is not None
    for process in (psutil.Process(house.process.pid), psutil.Process(pid)):
        assert process.net_connections(kind="inet") == []
    assert CANARY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.real
def test_every_file_of_the_home_belongs_to_its_owner_alone(house: House) -> None:
    mask = os.umask(0o022)
    try:
        house.start()
    finally:
        os.umask(mask)
    work_with_the_canary(house)
    for path in (house.paths.root, *house.paths.root.rglob("*")):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
