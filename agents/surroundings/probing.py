"""Chooses the prober and the source of sleep signals for this system."""

from __future__ import annotations

import sys

from agents.surroundings.core import BlindProber, Prober
from agents.surroundings.sleep import SleepSignals


def system_prober() -> Prober:
    """What can be asked here. Each system's module is imported only there: what it needs is not installed elsewhere."""
    prober: Prober = BlindProber()
    if sys.platform == "linux":
        from agents.surroundings.linux import LinuxProber

        prober = LinuxProber()
    elif sys.platform == "win32":
        from agents.surroundings.windows import WindowsProber

        prober = WindowsProber()
    elif sys.platform == "darwin":
        from agents.surroundings.macos import MacProber

        prober = MacProber()
    return prober


def system_sleep_signals() -> SleepSignals | None:
    """Who says that the computer is about to sleep; None where only the clocks tell, and only afterwards."""
    signals: SleepSignals | None = None
    if sys.platform == "linux":
        from agents.surroundings.logind import LogindSignals

        signals = LogindSignals()
    return signals
