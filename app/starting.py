"""Waits for a runtime that has begun to start: there is its process, or its lock already, but no answer yet.

Runs in: the short-lived command line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from agents.contract import Status
from agents.paths import HomePaths
from app.client import NotRunning, RuntimeClient, RuntimeUnreachable
from app.launch import LaunchOptions, runtime_command

START_WAIT_S = 15.0
_POLL_S = 0.1


class StillStarting(RuntimeUnreachable):
    """A runtime holds the home, and did not answer for as long as a start may take."""

    code = "starting"


def first_status(
    client: RuntimeClient,
    *,
    timeout_s: float = START_WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Status:
    """The runtime's status, as soon as it answers.

    Raises NotRunning at once when no runtime starts, StillStarting when one did not answer for `timeout_s`, and what
    RuntimeClient.status raises.
    """
    deadline = monotonic() + timeout_s
    while True:
        try:
            return client.status()
        except NotRunning:
            if not is_held(client.paths) and not is_launched(client.paths):
                raise
        if monotonic() >= deadline:
            raise StillStarting(
                f"The runtime for {client.paths.root} is still starting or ending after {timeout_s:g} s; try again in "
                f"a moment, or look at {client.paths.runtime_log}."
            )
        sleep(_POLL_S)


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


def is_launched(paths: HomePaths) -> bool:
    """Whether there is a process of a runtime for this home: it loads its libraries before it takes the lock."""
    import psutil

    _, *wanted = runtime_command(paths.root, LaunchOptions())
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return any(command[1 : 1 + len(wanted)] == wanted for command in commands)
