"""The standard streams of the command line: what can't be written is told apart from every other trouble.

Runs in: the command line, around one command.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

import click

_REASONS = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "no space left for you on the device",
    errno.EBADF: "it is closed",
}


class OutputClosed(Exception):
    """stdout's reader went away: nothing is wrong, and nobody is left to be told anything."""


class OutputFailed(click.ClickException):
    """stdout can't be written; ends with exit code 1."""

    exit_code = 1

    def __init__(self, error: OSError) -> None:
        reason = _REASONS.get(error.errno or 0, "")
        text = reason or (error.strerror or type(error).__name__)
        super().__init__(f"The output can't be written: {text[:1].lower()}{text[1:]}.")


class _Guarded:
    """A stream whose failures `_failed` decides about; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class _GuardedOutput(_Guarded):
    def _failed(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise OutputClosed from error
        raise OutputFailed(error) from error


class _GuardedErrors(_Guarded):
    """Where a complaint can't be written there is nobody to complain to; the exit code still tells."""

    def _failed(self, error: OSError) -> None:
        _send_to_nowhere(self._stream)


class _ClosedOutput(io.StringIO):
    """Stands where the caller closed stdout (`>&-`)."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextmanager
def standard_streams() -> Iterator[None]:
    """Guards the standard streams, and replaces those that the caller closed."""
    before = sys.stdin, sys.stdout, sys.stderr
    _occupy_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # a name that the terminal can't show must not end the program
    with ExitStack() as made:
        if cast(TextIO | None, sys.stdin) is None:
            sys.stdin = made.enter_context(Path(os.devnull).open(encoding="utf-8"))
        errors = cast(TextIO | None, sys.stderr) or made.enter_context(
            Path(os.devnull).open("w", encoding="utf-8")
        )
        sys.stdout = cast(TextIO, _GuardedOutput(cast(TextIO | None, sys.stdout) or _ClosedOutput()))
        sys.stderr = cast(TextIO, _GuardedErrors(errors))
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def discard_output() -> None:
    """Python flushes stdout once more at its end; what is left in it has no reader."""
    _send_to_nowhere(sys.stdout)


def _send_to_nowhere(stream: TextIO) -> None:
    with suppress(OSError, ValueError):  # a stream without a file descriptor, as in tests
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _occupy_closed_descriptors() -> None:
    """Else the next file or socket that is opened, here or in the runtime, would become the standard output."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(nowhere, number)
    if nowhere > 2:
        os.close(nowhere)
    else:
        os.set_inheritable(nowhere, True)
