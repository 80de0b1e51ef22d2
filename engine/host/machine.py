"""What this computer has: its processor's name, its memory, and how much of that a model may take now."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

_RESERVE_SHARE = 0.05  # of all memory; stays free for everything else
_MIN_RESERVE_BYTES = 256 * 1024 * 1024


def cpu_model() -> str:
    """A name for this processor and its instruction sets, the same at every start."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in text.splitlines() if line.startswith(wanted)}))


def total_memory_bytes() -> int:
    """All memory of this computer."""
    return int(psutil.virtual_memory().total)


def free_memory_bytes() -> int:
    """What can be had now without pushing other programs out of memory, less a reserve. Files in the cache count as free."""
    memory = psutil.virtual_memory()
    reserve = max(int(memory.total * _RESERVE_SHARE), _MIN_RESERVE_BYTES)
    return max(0, int(memory.available) - reserve)
