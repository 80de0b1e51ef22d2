"""What the benchmark runs on: the processor, its cores and memory, how busy it is, and how fast it reads memory."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

BUSY_SHARE = 0.15  # of all cores, taken by others before anything is measured
_SAMPLE_S = 1.0
_BUFFER_BYTES = 256 * 1024 * 1024  # of all threads together; several times the largest cache of a desktop
_ROUNDS = 4

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine as it was when the run began."""

    cpu: str
    cores: int
    memory_gb: float
    amx: bool
    system: str
    load_average: float | None
    busy_percent: float  # of all cores, over one second

    @property
    def warning(self) -> str | None:
        """One sentence when other programs will disturb the measurements."""
        if self.busy_percent <= 100 * BUSY_SHARE:
            return None
        return (
            f"This machine is busy: {self.busy_percent:.0f} % of its cores are taken by other programs, so the numbers "
            "below are not those of a quiet machine; close them and measure again."
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def in_words(self) -> str:
        """For people: one line."""
        extras = ", AMX" if self.amx else ""
        load = "" if self.load_average is None else f", load average {self.load_average:.1f}"
        busy = "" if self.warning is None else f", {self.busy_percent:.0f} % taken by other programs"
        return f"{self.cpu}, {self.cores} cores{extras}, {self.memory_gb:.0f} GB, {self.system}{load}{busy}"


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """Look at the machine for a second."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    return Machine(
        cpu=name[1].strip() if name else platform.processor() or platform.machine(),
        cores=usable_cores(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        amx="amx_tile" in (flags[1].split() if flags else ()),
        system=f"{platform.system()} {platform.release()}",
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        busy_percent=round(psutil.cpu_percent(_SAMPLE_S), 1),
    )


def usable_cores() -> int:
    """Physical cores that this process may use: what llama.cpp is given as threads."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def read_bandwidth(n_threads: int) -> float:
    """Bytes a second that n_threads read from memory: the best of some rounds over arrays too large for a cache.

    Which loop of numpy reads fastest differs between processors, so three are tried. numpy lets go of the interpreter
    meanwhile, so the threads run side by side.
    """
    n_values = _BUFFER_BYTES // n_threads // 8
    parts = [np.ones(n_values, dtype=np.float64) for _ in range(n_threads)]
    loops: tuple[Callable[[Array], object], ...] = (
        np.maximum.reduce,
        lambda part: np.bitwise_or.reduce(part.view(np.int64)),
        lambda part: np.dot(part, part),
    )
    best = 0.0
    with ThreadPoolExecutor(n_threads) as pool:
        for loop in loops * _ROUNDS:
            started = time.perf_counter()
            list(pool.map(loop, parts))
            best = max(best, sum(part.nbytes for part in parts) / (time.perf_counter() - started))
    return best
