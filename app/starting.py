"""Waits for a runtime that has begun to start: there is its process, or its lock already, but no answer yet.

Runs in: the short-lived command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agents.contract import Status
from agents.paths import HomePaths
from app.client import NotAnswering, NotRunning, RuntimeClient, RuntimeUnreachable
from app.holding import holder_pid, is_held
from app.launch import LaunchOptions, runtime_command

START_WAIT_S = 15.0
SILENCE_S = 3.0  # after which a runtime that listens and says nothing is worth a word
_POLL_S = 0.1


class StillStarting(RuntimeUnreachable):
    """A runtime holds the home, and did not answer for as long as a start may take."""

    code = "starting"


def first_status(
    client: RuntimeClient,
    *,
    timeout_s: float = START_WAIT_S,
    silence_s: float = SILENCE_S,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Status:
    """The runtime's status, as soon as it answers; `tell` gets one sentence when that takes longer than `silence_s`.

    Raises NotRunning at once when no runtime starts, StillStarting when one did not answer for `timeout_s`, and what
    RuntimeClient.status raises.
    """
    deadline = monotonic() + timeout_s
    while True:
        try:
            return _patient_status(client, silence_s, tell)
        except NotRunning:
            if not is_held(client.paths) and not is_launched(client.paths):
                raise
        if monotonic() >= deadline:
            raise StillStarting(
                f"The runtime for {client.paths.root} is still starting or ending after {timeout_s:g} s; try again in "
                f"a moment, or look at {client.paths.runtime_log}."
            )
        sleep(_POLL_S)


def _patient_status(client: RuntimeClient, silence_s: float, tell: Callable[[str], None]) -> Status:
    """A runtime that is busy answers late, one that is frozen never does: the user is told before that is known."""
    try:
        return client.status(timeout_s=min(silence_s, client.answer_timeout_s))
    except NotAnswering:
        pid = holder_pid(client.paths)
        who = f" (process {pid})" if pid else ""
        tell(f"Hearth{who} does not answer yet; waiting for up to {client.answer_timeout_s:g} s more.")
    return client.status()


def is_launched(paths: HomePaths) -> bool:
    """Whether there is a process of a runtime for this home: it loads its libraries before it takes the lock."""
    import psutil

    _, *wanted = runtime_command(paths.root, LaunchOptions())
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return any(command[1 : 1 + len(wanted)] == wanted for command in commands)
