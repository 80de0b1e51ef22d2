"""How a command line ends: every error becomes one sentence, for a program one JSON object too, and an exit code.

The sentence goes to stderr. With --json the object {"error": {"code", "message", "details"}} is written to stdout besides, in the
form of the runtime's contract, so that a program always finds JSON there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

import click

from app.cli.common import Invocation, WorkFailed, WrongInput
from app.cli.streams import OutputClosed, OutputFailed, discard_output

INTERRUPTED = 130
OUTPUT_CLOSED = 141


def end(error: BaseException, call: Invocation, arguments: Sequence[str]) -> int:
    """Says what has to be said and returns the exit code."""
    if isinstance(error, OutputClosed):
        discard_output()
        return OUTPUT_CLOSED
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, OutputFailed):
        discard_output()
        return _tell(error.format_message(), error.exit_code)
    # A command line that could not be read has set nothing yet.
    is_json = call.json or "--json" in takewhile(lambda each: each != "--", arguments)
    return _explain(error, call, is_json=is_json)


def _explain(error: BaseException, call: Invocation, *, is_json: bool) -> int:
    from app.client import ClientError, ProblemReported

    match error:
        case click.exceptions.NoArgsIsHelpError():
            if is_json:
                _tell_program("usage", "A command is missing.")
            return _tell(error.format_message(), 2)
        case click.UsageError():
            where = error.ctx.command_path if error.ctx is not None else "hearth"
            sentence, exit_code = f"{error.format_message()} See `{where} --help`.", 2
            code, details = "usage", {}
        case WrongInput() | WorkFailed():
            sentence, exit_code = error.format_message(), error.exit_code
            code, details = error.code, error.details
        case click.ClickException():
            sentence, exit_code = error.format_message(), error.exit_code
            code, details = "failed", {}
        case ProblemReported():
            sentence, exit_code = str(error), error.exit_code
            code, details = error.problem.code, error.problem.details
        case ClientError():
            sentence, exit_code = str(error), error.exit_code
            code, details = error.code, {}
        case _:
            sentence, exit_code = _report_bug(error, call), 1
            code, details = "internal", {}
    if is_json:
        _tell_program(code, sentence, details)
    return _tell(sentence, exit_code)


def _tell(sentence: str, exit_code: int) -> int:
    from app.cli.output import complain

    complain(sentence)
    return exit_code


def _tell_program(code: str, message: str, details: dict[str, Any] | None = None) -> None:
    from agents.contract import ErrorBody, Problem
    from app.cli.output import emit

    with suppress(OutputClosed, OutputFailed):  # the sentence and the exit code still tell
        emit(ErrorBody(error=Problem(code=code, message=message, details=details or {})), compact=True)


def _report_bug(error: BaseException, call: Invocation) -> str:
    from app.crash_report import describe, write_report

    try:
        home = call.paths.root
    except click.ClickException:
        home = None
    report = write_report(describe(error), home)
    place = f"what happened, without private text, is in {report}" if report else "no report could be written"
    return f"Internal error ({type(error).__name__}); {place}."
