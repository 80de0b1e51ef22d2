"""What a process holds, and whether that grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import psutil


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """One process at one moment."""

    rss_bytes: int
    n_descriptors: int
    n_threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Of a living process of this user."""
        process = psutil.Process(pid)
        with process.oneshot():
            count = getattr(process, "num_handles" if psutil.WINDOWS else "num_fds")
            return cls(
                rss_bytes=process.memory_info().rss,
                n_descriptors=min(_looks(count)),
                n_threads=min(_looks(process.num_threads)),
            )


def _looks(count: Callable[[], int]) -> Iterator[int]:
    """A few counts: a file that is being written, or a thread that waits for a child to be gone, is no leak."""
    for _ in range(8):
        yield count()
        time.sleep(0.02)


def growth(values: Sequence[float]) -> float:
    """By which share the values rise over their second half.

    A straight line is fitted to the second half (least squares): how far it rises from the first to the last of these
    values, over its height at the first. The first half is left out, because caches fill up to their limits in it.
    """
    half = np.asarray(values[len(values) // 2 :], dtype=float)
    slope, height = np.polyfit(np.arange(len(half)), half, deg=1)
    return float(slope * (len(half) - 1) / height)


def check_memory(name: str, footprints: Sequence[Footprint], *, limit: float = 0.05) -> None:
    """The resident memory stays as it is."""
    share = growth([footprint.rss_bytes for footprint in footprints])
    first, last = footprints[0].rss_bytes / 2**20, footprints[-1].rss_bytes / 2**20
    print(f"{name}: {share:+.2%} over the second half; {first:.1f} MiB at first, {last:.1f} MiB at last")
    assert share < limit, f"the memory of {name} grows"


def check_handles(name: str, footprints: Sequence[Footprint]) -> None:
    """Most of the time in the second half there are no more descriptors and threads than there were in the first."""
    middle = len(footprints) // 2
    for what in ("n_descriptors", "n_threads"):
        counts = [getattr(footprint, what) for footprint in footprints]
        assert median(counts[middle:]) <= max(counts[:middle]), f"{what} of {name}: {counts}"
