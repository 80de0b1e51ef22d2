"""Looks at the machine for the thread governor: cores that nobody uses, and how long our threads wait for one.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from engine.pace.pacing import MachineLoad

_TASKS = Path("/proc/self/task")


class MachineProbe:
    """Compares counters of the system with those of its last look. Costs about 0.1 ms on a small machine."""

    def __init__(self) -> None:
        self._cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self._at_s: float | None = None
        self._idle_s = 0.0
        self._waited_ns: dict[str, int] = {}

    def look(self) -> MachineLoad:
        """The time since the last look; the first one only begins."""
        now, idle_s, waited_ns = time.monotonic(), self._total_idle_s(), _run_queue_waits_ns()
        since_s = now - self._at_s if self._at_s is not None else 0.0
        load = MachineLoad()
        if since_s > 0:
            waits = [ns - self._waited_ns.get(task, 0) for task, ns in waited_ns.items()]
            load = MachineLoad(
                free_cpus=max(0.0, idle_s - self._idle_s) / since_s,
                waiting=sum(waits) / 1e9 / since_s if waits else None,
            )
        self._at_s, self._idle_s, self._waited_ns = now, idle_s, waited_ns
        return load

    def _total_idle_s(self) -> float:
        cpus = psutil.cpu_times(percpu=True)
        usable = [cpus[n] for n in self._cpus if n < len(cpus)] if self._cpus is not None else cpus
        return sum(cpu.idle + getattr(cpu, "iowait", 0.0) for cpu in usable)


def _run_queue_waits_ns() -> dict[str, int]:
    """Thread -> time that it was ready and had no core; empty where the kernel doesn't tell."""
    waits: dict[str, int] = {}
    with suppress(FileNotFoundError):
        for task in _TASKS.iterdir():
            with suppress(OSError, ValueError, IndexError):  # a thread that ended meanwhile
                waits[task.name] = int((task / "schedstat").read_text().split()[1])
    return waits
