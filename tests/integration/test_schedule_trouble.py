"""Killed, stopped, on a machine whose clocks lie, on a full disk: every due time is in the ledger once, and ends."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from agents.core import Occurrence, OccurrenceStatus
from tests.integration.clockwork import EVERY_S, open_store

OPEN = frozenset(
    {OccurrenceStatus.CLAIMED, OccurrenceStatus.PENDING, OccurrenceStatus.RUNNING, OccurrenceStatus.WAITING}
)
LIMIT_S = 60.0


class Clockwork:
    """One process at a time on one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, wrapped: Sequence[str] = ()) -> None:
        command = [*wrapped, sys.executable, "-m", "tests.integration.clockwork", str(self.home), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()
        self.process = None

    def stop(self) -> list[str]:
        """What the watchdog found."""
        assert self.process is not None
        self.process.terminate()
        said, _ = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0
        self.process = None
        found: list[str] = json.loads(said)
        return found

    def rows(self) -> list[Occurrence]:
        """All that is not in the future; nothing may have the ledger open."""

        async def read() -> list[Occurrence]:
            store = await open_store(self.home)
            try:
                return await store.schedule.list(limit=100_000)
            finally:
                await store.close()

        rows = [row for row in asyncio.run(read()) if row.status is not OccurrenceStatus.SCHEDULED]
        return sorted(rows, key=lambda row: (row.agent_id, row.due_at))


@pytest.fixture
def clockwork(tmp_path: Path) -> Iterator[Clockwork]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    made = Clockwork(home)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()


def assert_whole(rows: Sequence[Occurrence], *, n_agents: int) -> None:
    """Each agent's due times follow each other without a hole and without a repetition, and each has ended."""
    assert {row.agent_id for row in rows} == set(range(1, n_agents + 1))
    for agent_id in range(1, n_agents + 1):
        dues = [row.due_at for row in rows if row.agent_id == agent_id for _ in range(row.n_due)]
        assert len(dues) == 1 + (dues[-1] - dues[0]) / timedelta(seconds=EVERY_S)
        assert len(set(dues)) == len([row for row in rows if row.agent_id == agent_id])
    assert [row for row in rows if row.status in OPEN] == []


def drain(clockwork: Clockwork) -> list[str]:
    """Lets everything end that was caught up on; what became due in the last moments may be open and is waited for."""
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        time.sleep(1.0)
        found = clockwork.stop()
        rows = clockwork.rows()
        settled = max((row.due_at for row in rows if row.status not in OPEN), default=None)
        late = [row for row in rows if row.status in OPEN and settled and row.due_at < settled]
        if not late or time.monotonic() > deadline_s:
            return found
        clockwork.start()


def finished(rows: Sequence[Occurrence]) -> list[Occurrence]:
    """Without the due times of the last seconds before the end, whose runs the stop gave back."""
    end = max(row.due_at for row in rows) - timedelta(seconds=3)
    return [row for row in rows if row.due_at <= end]


def kill_and_restart(clockwork: Clockwork, *, times: int, every_s: float, n_agents: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(times):
        clockwork.start(f"--agents={n_agents}")
        time.sleep(every_s * moments.uniform(0.7, 1.3))
        clockwork.kill()
    clockwork.start(f"--agents={n_agents}")
    time.sleep(4)
    drain(clockwork)
    rows = finished(clockwork.rows())
    assert_whole(rows, n_agents=n_agents)
    assert {row.status for row in rows} == {OccurrenceStatus.SUCCEEDED}


@pytest.mark.timeout(180)
def test_three_kills_under_load_lose_and_repeat_no_due_time(clockwork: Clockwork) -> None:
    kill_and_restart(clockwork, times=3, every_s=1.5, n_agents=5)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_restart_every_twenty_seconds_for_five_minutes_loses_and_repeats_no_due_time(
    clockwork: Clockwork,
) -> None:
    kill_and_restart(clockwork, times=15, every_s=20.0, n_agents=10)


def stop_for(clockwork: Clockwork, seconds: float, *arguments: str) -> None:
    clockwork.start(*arguments)
    time.sleep(1.5)
    clockwork.signal(signal.SIGSTOP)
    time.sleep(seconds)
    clockwork.signal(signal.SIGCONT)
    time.sleep(3.0)
    assert drain(clockwork) == []
    assert_whole(finished(clockwork.rows()), n_agents=3)


@pytest.mark.timeout(180)
def test_a_process_that_was_stopped_catches_up_and_its_watchdog_blames_nobody(clockwork: Clockwork) -> None:
    stop_for(clockwork, 4.0, "--stuck=1")


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_process_that_was_stopped_for_two_minutes_catches_up_and_its_watchdog_blames_nobody(
    clockwork: Clockwork,
) -> None:
    stop_for(clockwork, 120.0, "--stuck=60")


@pytest.mark.timeout(180)
def test_after_a_jump_of_the_boot_clock_due_times_go_on(clockwork: Clockwork) -> None:
    """As after days of sleep: a process that starts then finds another uptime, and the same ledger."""
    unshare = shutil.which("unshare")
    asleep = [unshare or "", "--time", "--boottime", "864000", "--monotonic", "864000", "--"]
    if unshare is None or subprocess.run([*asleep, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody set the boot clock of a process")
    clockwork.start()
    time.sleep(1.5)
    clockwork.stop()
    clockwork.start(wrapped=asleep)
    time.sleep(3)
    assert drain(clockwork) == []
    assert_whole(finished(clockwork.rows()), n_agents=3)


@pytest.mark.timeout(180)
def test_due_times_on_a_full_disk_wait_and_none_is_lost_once_there_is_room(clockwork: Clockwork) -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted only by root on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", clockwork.home],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        clockwork.start("--stuck=2")
        time.sleep(1.5)
        ballast = fill_up(clockwork.home)
        time.sleep(5)
        ballast.unlink()
        time.sleep(6)
        assert drain(clockwork) == []  # a full disk is not the scheduler's fault: nothing was restarted
        assert_whole(finished(clockwork.rows()), n_agents=3)
    finally:
        subprocess.run(["umount", "--lazy", clockwork.home], check=True)


def fill_up(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65_536)
                file.flush()
        except OSError:
            pass
    return ballast
