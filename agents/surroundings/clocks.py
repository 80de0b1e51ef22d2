"""What three clocks tell together: that the computer slept, or that its wall clock was set."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

GAP_S = 2.0  # smaller differences are rounding, or the slow correction of a clock


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """The same moment on three clocks, in seconds."""

    boottime_s: float  # goes on during sleep
    awake_s: float  # stands still during sleep
    wall_s: float  # goes on during sleep, and may be set


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """What happened between two readings; 0 where nothing did."""

    slept_s: float = 0.0
    wall_set_s: float = 0.0  # positive: forward


Clocks = Callable[[], ClockReading]


def compare(before: ClockReading, after: ClockReading) -> ClockChange:
    """Sleep is what the awake clock does not know of; a set clock is what neither of the others knows of."""
    passed_s = after.boottime_s - before.boottime_s
    slept_s = passed_s - (after.awake_s - before.awake_s)
    wall_set_s = (after.wall_s - before.wall_s) - passed_s
    return ClockChange(
        slept_s=slept_s if slept_s > GAP_S else 0.0,
        wall_set_s=wall_set_s if abs(wall_set_s) > GAP_S else 0.0,
    )


def system_clocks() -> Clocks:
    """This system's clocks."""
    if sys.platform == "win32":
        return _windows_clocks()
    if sys.platform == "darwin":  # there CLOCK_MONOTONIC goes on during sleep
        return lambda: ClockReading(
            boottime_s=time.clock_gettime(time.CLOCK_MONOTONIC),
            awake_s=time.clock_gettime(time.CLOCK_UPTIME_RAW),
            wall_s=time.time(),
        )
    return lambda: ClockReading(
        boottime_s=time.clock_gettime(time.CLOCK_BOOTTIME),
        awake_s=time.clock_gettime(time.CLOCK_MONOTONIC),
        wall_s=time.time(),
    )


def _windows_clocks() -> Clocks:
    kernel = ctypes.CDLL("kernel32")
    kernel.GetTickCount64.restype = ctypes.c_uint64

    def read() -> ClockReading:
        unbiased = ctypes.c_uint64()  # in 100 ns, without sleep
        kernel.QueryUnbiasedInterruptTime(ctypes.byref(unbiased))
        return ClockReading(
            boottime_s=kernel.GetTickCount64() / 1000, awake_s=unbiased.value / 1e7, wall_s=time.time()
        )

    return read
