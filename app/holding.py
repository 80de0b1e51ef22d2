"""Tells whether a process holds a home's lock, and which one, without asking the runtime itself.

Runs in: the short-lived command line, and any thread that waits for a runtime to come up (app.launch).
"""

from __future__ import annotations

import sys

from agents.paths import HomePaths


def is_held(paths: HomePaths) -> bool:
    """Whether a living process holds the home's lock.

    A shared lock that is given back at once asks without standing in a runtime's way for longer than microseconds.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with paths.lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        return False  # no lock file, or none that can be read: nobody is known to hold it
    return False


def holder_pid(paths: HomePaths) -> int | None:
    """The process that holds the lock. A killed runtime leaves its number behind, but not the lock."""
    if not is_held(paths):
        return None
    try:
        return int(paths.owner.read_text())
    except (OSError, ValueError):
        return None
