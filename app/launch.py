"""Starts a runtime in the background and waits until it answers; free of Qt, so the desktop and the demo share it.

Runs in: any thread of the desktop or the command line; it blocks until the runtime is up or has failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agents.paths import HomePaths
from app.client import ClientError, RuntimeClient, RuntimeUnreachable

START_TIMEOUT_S = 60.0
# The runtime gives itself 20 s for an ordered stop.
STOP_TIMEOUT_S = 25.0
_POLL_S = 0.05
_SENTENCE_BYTES = 8_192


class LaunchFailed(ClientError):
    """The runtime did not come up; str() is its own sentence, `exit_code` the one it ended with."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class ServedAlready(LaunchFailed):
    """Another runtime answers for this home: nothing is wrong for a client that only wants one."""


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How a runtime is started. At most one of the key's options; none means the one that the home remembers."""

    key_file: Path | None = None
    passphrase: str | None = field(default=None, repr=False)
    insecure_no_encryption: bool = False
    restore_backup: bool = False  # in the place of a damaged database
    model: Path | None = None  # a GGUF file instead of the built-in one
    listen: str | None = None  # 127.0.0.1:PORT for other programs
    api_key_file: Path | None = None  # holds their key; else the home keeps it


def runtime_command(home: Path, options: LaunchOptions) -> list[str]:
    """The runtime's command line. A passphrase is no part of it, where every user of the machine could read it."""
    command = [sys.executable, "-m", "agents", "--home", str(home.absolute())]
    if options.key_file is not None:
        command += ["--key-file", str(options.key_file.absolute())]
    if options.passphrase is not None:
        command += ["--passphrase-stdin"]
    if options.insecure_no_encryption:
        command += ["--insecure-no-encryption"]
    if options.restore_backup:
        command += ["--restore-backup"]
    if options.model is not None:
        command += ["--model", str(options.model.absolute())]
    if options.listen is not None:
        command += ["--listen", options.listen]
    if options.api_key_file is not None:
        command += ["--api-key-file", str(options.api_key_file.absolute())]
    return command


def runtime_environment() -> dict[str, str]:
    """Keeps the current folder out of the import path of the runtime and its children, whatever lies in it."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def start_runtime(
    home: Path,
    options: LaunchOptions | None = None,
    *,
    timeout_s: float = START_TIMEOUT_S,
    cancelled: Callable[[], bool] = lambda: False,
) -> subprocess.Popen[bytes]:
    """Starts a runtime in a session of its own, so that it outlives this process, and returns once it answers.

    Raises LaunchFailed, and leaves no process behind, when it ends, takes longer than `timeout_s`, or when
    `cancelled` says yes meanwhile.
    """
    options = options or LaunchOptions()
    # A file and not a pipe: nobody reads the runtime's stderr once this process has gone.
    with tempfile.TemporaryFile() as stderr:
        process = _spawn(home, options, stderr)
        try:
            _wait_until_up(process, HomePaths(home.absolute()), stderr, timeout_s, cancelled)
        except BaseException:
            end_runtime(process)
            raise
    return process


def end_runtime(process: subprocess.Popen[bytes], *, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Ends a runtime that this process started: in order if it can within `timeout_s`, else at once."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def _spawn(home: Path, options: LaunchOptions, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    has_input = options.passphrase is not None
    try:
        process = subprocess.Popen(
            runtime_command(home, options),
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=runtime_environment(),
            cwd=home.absolute().anchor,  # holds no folder busy that somebody may want to unmount
            start_new_session=True,
        )
    except OSError as error:
        raise LaunchFailed(f"Hearth's runtime can't be started: {error.strerror}.", 1) from error
    if process.stdin is not None and options.passphrase is not None:
        try:
            with process.stdin as stdin:
                stdin.write(options.passphrase.encode() + b"\n")
        except BrokenPipeError:
            pass  # it ended before it read: its own sentence says why
    return process


def _wait_until_up(
    process: subprocess.Popen[bytes],
    paths: HomePaths,
    stderr: IO[bytes],
    timeout_s: float,
    cancelled: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + timeout_s
    with RuntimeClient(paths, answer_timeout_s=5.0) as client:
        while True:
            exit_code = process.poll()
            pid = _answering_pid(client)
            if exit_code is not None:
                failure = LaunchFailed if pid is None else ServedAlready
                raise failure(_sentence(stderr, paths), exit_code if exit_code > 0 else 1)
            if pid == process.pid:
                return
            if cancelled():
                raise LaunchFailed("Starting Hearth was cancelled.", 1)
            if time.monotonic() >= deadline:
                raise LaunchFailed(
                    f"Hearth's runtime did not answer within {timeout_s:.0f} s; look at {paths.runtime_log}.",
                    1,
                )
            time.sleep(_POLL_S)


def _answering_pid(client: RuntimeClient) -> int | None:
    try:
        return client.status().pid
    except RuntimeUnreachable:
        return None


def _sentence(stderr: IO[bytes], paths: HomePaths) -> str:
    """The runtime's own last words; warnings of libraries may stand before them."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - _SENTENCE_BYTES))
    lines = [line.strip() for line in stderr.read().decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    if not last:
        return f"Hearth's runtime ended at once; look at {paths.runtime_log}."
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return f"Hearth's runtime could not start because of an internal error ({last})."
    return last
