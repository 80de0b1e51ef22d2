"""`hearth stop`: asks the runtime to end in order and waits until its process has gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from app.cli.common import Invocation, WorkFailed, shared_options
from app.cli.output import complain, emit, say

if TYPE_CHECKING:
    from app.client import RuntimeClient

_POLL_S = 0.05


@click.command(short_help="End the runtime in order.")
@shared_options
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the runtime to end.",
)
@click.option(
    "--agents",
    "agents_only",
    is_flag=True,
    help="Stop all agents at once, in the middle of what they write too; Hearth itself runs on.",
)
def stop(call: Invocation, timeout_s: float, agents_only: bool) -> None:
    """End the runtime in order; runs go on from their last finished step when it starts again."""
    from app.client import RuntimeClient

    if agents_only:
        _stop_agents(call)
        return
    with RuntimeClient(call.paths) as client:
        pid = _ask_to_stop(client)
        deadline = time.monotonic() + timeout_s
        while _alive(client, pid):
            if time.monotonic() >= deadline:
                who = f" (process {pid})" if pid else ""
                raise WorkFailed(
                    f"The runtime{who} is still ending after {timeout_s:g} s; wait with a longer --timeout, or look "
                    f"at {call.paths.runtime_log}."
                )
            time.sleep(_POLL_S)
    if call.json:
        emit({"stopped": True, "pid": pid})
    else:
        say(f"Hearth has stopped for {call.paths.root}.")


def _stop_agents(call: Invocation) -> None:
    with call.runtime() as client:
        switched = client.switch_agents(stopped=True)
    if call.json:
        emit(switched)
    else:
        until = "" if switched.note else ", over restarts too"
        say(f"All agents are stopped{until}; `hearth agents resume --all` lets them go on.")
        if switched.note:
            say(switched.note)


def _ask_to_stop(client: RuntimeClient) -> int | None:
    """Returns the runtime's pid, if it could be learnt."""
    from app.client import NotAnswering, NotRunning, RuntimeUnreachable, VersionMismatch
    from app.starting import first_status

    paths = client.paths
    try:
        pid = first_status(client, tell=complain).pid
    except VersionMismatch:
        pid = None  # being of another version is the very reason to be stopped
    except NotRunning:
        raise NotRunning(f"Hearth is not running for {paths.root}; there is nothing to stop.") from None
    except NotAnswering:
        raise  # it names the process and how to end it
    except RuntimeUnreachable:
        raise RuntimeUnreachable(
            f"The runtime for {paths.root} does not answer; end its process by hand (its number is in {paths.owner})."
        ) from None
    client.stop()
    return pid


def _alive(client: RuntimeClient, pid: int | None) -> bool:
    """The socket closes first; the process holds the home's lock until its very end."""
    from app.client import RuntimeUnreachable, VersionMismatch

    try:
        client.status()
    except RuntimeUnreachable:
        return pid is not None and _process_exists(pid)
    except VersionMismatch:
        return True
    return True


def _process_exists(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
