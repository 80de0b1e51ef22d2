"""How much of the processors other programs use, from the system's own counters. Blocking, well under a millisecond."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, kw_only=True)
class LoadSample:
    """The mean share of all processors that others used between two moments, 0 to 1."""

    from_s: float
    to_s: float
    others: float


@dataclass(frozen=True, kw_only=True)
class CpuReading:
    """Processor seconds since the system's start: of all programs, and of those that are ours by process id."""

    at_s: float
    busy_s: float
    ours_s: dict[int, float]


def read_cpu(own_pids: Iterable[int]) -> CpuReading:
    """What the system's counters say now; a process that has just ended is left out."""
    times = psutil.cpu_times()
    busy_s = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    ours_s = {}
    for pid in own_pids:
        try:
            own = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        ours_s[pid] = own.user + own.system
    return CpuReading(at_s=time.monotonic(), busy_s=busy_s, ours_s=ours_s)


class LoadMeter:
    """Compares each reading with the one before. `own_pids` are this runtime and its engines, as they are now."""

    def __init__(
        self,
        *,
        own_pids: Callable[[], Iterable[int]],
        n_cpus: int | None = None,
        read: Callable[[Iterable[int]], CpuReading] = read_cpu,
    ) -> None:
        self._own_pids = own_pids
        self._n_cpus = n_cpus or psutil.cpu_count() or 1
        self._read = read
        self._last: CpuReading | None = None

    def sample(self) -> LoadSample | None:
        """The load since the last call; None at the first one, or when no time has passed."""
        last, self._last = self._last, self._read(self._own_pids())
        if last is None or self._last.at_s <= last.at_s:
            return None
        ours_s = sum(
            max(0.0, used_s - last.ours_s.get(pid, 0.0)) for pid, used_s in self._last.ours_s.items()
        )
        passed_s = (self._last.at_s - last.at_s) * self._n_cpus
        others = (self._last.busy_s - last.busy_s - ours_s) / passed_s
        return LoadSample(from_s=last.at_s, to_s=self._last.at_s, others=min(1.0, max(0.0, others)))
