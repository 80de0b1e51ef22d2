"""What the engine child does to itself before anything else: private pipes, an end with its parent, and a wall.

Runs in: engine child, main thread, before any other thread and before native libraries are loaded.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys

PARENT_PID_NAME = "ENGINE_PARENT_PID"
MAX_OPEN_FILES = 256
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# machine -> (audit architecture, syscall numbers of: socket, io_uring_setup, execve, execveat)
_FORBIDDEN_CALLS = {
    "x86_64": (0xC000003E, (41, 425, 59, 322)),
    "aarch64": (0xC00000B7, (198, 425, 221, 281)),
}


def private_channel() -> tuple[int, int]:
    """Move the pipes to private descriptors and give 0 and 1 harmless ones.

    Native code that prints to stdout then lands on stderr, which is the log, and can't corrupt the frames.
    """
    incoming, outgoing = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(incoming, os.O_BINARY)
        msvcrt.setmode(outgoing, os.O_BINARY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process with its parent; end now if that already happened.

    The signal comes when the *thread* that started this process ends; the supervisor starts it from the event
    loop's thread, which outlives it. The closed pipe ends the child on every system, this only makes it certain
    also while native code holds the interpreter.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent ended before the request above was in place
        os._exit(0)


def limit_resources(memory_bytes: int) -> None:
    """No core dumps (they would hold the user's text), few files, and no more memory than is sensible."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    if sys.platform.startswith("linux"):
        _lower(resource.RLIMIT_DATA, memory_bytes)


def _lower(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (limit, limit))


def forbid_network_and_programs() -> bool:
    """Let the kernel refuse sockets and starting programs (seccomp). False where that can't be had."""
    calls = _FORBIDDEN_CALLS.get(platform.machine())
    if not sys.platform.startswith("linux") or calls is None:
        return False
    program = _filter_program(*calls)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def _filter_program(architecture: int, calls: tuple[int, ...]) -> bytes:
    """A classic BPF program: foreign architectures and the given calls get EACCES, all else passes."""
    load, jump_equal, jump_at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EACCES
    first_foreign_call = 0x40000000  # the x32 twin calls of x86-64 start here
    checks: list[tuple[int, int]] = [(jump_at_least, first_foreign_call)]
    checks.extend((jump_equal, call) for call in calls)
    lines = [(load, 0, 0, 4), (jump_equal, 0, len(checks) + 2, architecture), (load, 0, 0, 0)]
    lines.extend((code, len(checks) - index, 0, value) for index, (code, value) in enumerate(checks))
    lines.extend([(answer, 0, 0, allow), (answer, 0, 0, refuse)])
    return b"".join(struct.pack("HBBI", *line) for line in lines)
