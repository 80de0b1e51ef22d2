"""Whether a granted command ends with exit code 0. It runs alone: no shell, no input, no output, none of our environment.

Runs in: a worker thread.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path

import psutil

from agents.gates.finding import Finding
from agents.gates.programs import program_problem
from agents.printable import printable_name
from agents.triggers import CommandGate

_LOOK_S = 0.02  # how often it is looked whether the command has ended
_END_S = 2.0  # for what was killed to be gone
_MEMORY_BYTES = 2 << 30
_FILE_BYTES = 64 << 20
_OPEN_FILES = 256


def check_command(
    gate: CommandGate, *, granted: Collection[tuple[str, ...]], cancelled: threading.Event
) -> Finding:
    """Blocks up to the gate's time limit. At its end everything that the command has started is killed."""
    if gate.argv not in granted:
        return Finding(is_open=False, detail="the agent may not run this command")
    problem = program_problem(gate.argv[0])
    if problem is not None:
        return Finding(is_open=False, detail=problem)
    name = printable_name(Path(gate.argv[0]))
    try:
        code = _run(gate, cancelled)
    except OSError as error:
        return Finding(is_open=False, detail=f"{name} can't be run ({error.strerror})")
    if code is None:
        return Finding(is_open=False, detail=f"{name} did not end within {gate.timeout_s:g} s")
    if code < 0:
        return Finding(is_open=False, detail=f"{name} was ended by signal {-code}")
    return Finding(is_open=code == 0, detail=f"{name} ended with exit code {code}")


def _run(gate: CommandGate, cancelled: threading.Event) -> int | None:
    """The exit code; None when the time was over, or nobody waits any more."""
    with tempfile.TemporaryDirectory(prefix="hearth-gate-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            gate.argv,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # no terminal, and a group of its own to be killed with
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            _limit(process.pid, gate.timeout_s)
            deadline_s = time.monotonic() + gate.timeout_s
            while not _has_ended(process):
                if time.monotonic() >= deadline_s or cancelled.wait(_LOOK_S):
                    return None
            return process.wait(_END_S)
        finally:
            _kill_all(process)


def _environment() -> dict[str, str]:
    kept = {"HOME": str(Path.home()), "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    if sys.platform == "win32":  # without these two hardly any program starts
        kept = {name: os.environ[name] for name in ("SYSTEMROOT", "PATH") if name in os.environ}
    return kept


def _limit(pid: int, timeout_s: float) -> None:
    """Memory, processor time, files: as far as the system lets them be set from outside."""
    if sys.platform != "linux":
        return
    import resource

    cpu_s = math.ceil(timeout_s) + 1
    limits = {
        resource.RLIMIT_AS: _MEMORY_BYTES,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for what, limit in limits.items():
        with contextlib.suppress(OSError, ValueError):  # it has ended, or the limit was lower before
            resource.prlimit(pid, what, (limit, limit))


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Where it can be told without taking the exit code: until that is taken, its process id and group belong to nobody else."""
    if sys.platform in ("win32", "darwin"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """The command, its group, and what it has started outside of that."""
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        descendants = psutil.Process(process.pid).children(recursive=True)
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel, and can't be killed now
        process.wait(_END_S)
