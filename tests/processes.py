"""Looking at processes that are not our children."""

from __future__ import annotations

import psutil


def has_ended(pid: int) -> bool:
    """Whether a process is over. One that its new parent has not collected yet (a zombie) is."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
