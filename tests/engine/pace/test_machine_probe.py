"""The probe against a thread and a process whose load is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.pace.machine_probe import MachineProbe

needs_schedstat = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell how long threads wait"
)


def test_the_first_look_only_begins() -> None:
    load = MachineProbe().look()
    assert load.free_cpus is None
    assert load.waiting is None


def test_free_cores_are_no_more_than_there_are() -> None:
    probe = MachineProbe()
    probe.look()
    time.sleep(0.1)
    free = probe.look().free_cpus
    assert free is not None
    assert 0 <= free <= (os.cpu_count() or 1) * 1.5  # the counters move in ticks of up to 10 ms


@needs_schedstat
def test_a_thread_that_shares_its_core_waits_about_half_the_time() -> None:
    cpu = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    rival = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{cpu}])\nwhile 1: pass"]
    )
    try:
        while os.sched_getaffinity(rival.pid) != {cpu}:
            time.sleep(0.01)
        os.sched_setaffinity(0, [cpu])
        probe = MachineProbe()
        probe.look()
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass
        load = probe.look()
    finally:
        os.sched_setaffinity(0, before)
        rival.kill()
        rival.wait()
    assert load.waiting is not None
    assert load.waiting > 0.15
    assert load.free_cpus is not None
    assert load.free_cpus < 0.3
