"""Names this process as an owner of due times and runs, so that a later one can tell what a dead one left."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from agents.core import Owner

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> Owner:
    """Process ids come back, so its start and the boot belong to the name."""
    process = psutil.Process()
    return Owner(pid=os.getpid(), started_at=f"{process.create_time():.2f}", boot_id=_boot_id())


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:  # not Linux: the moment of the boot is as good a name
        return f"{psutil.boot_time():.0f}"
