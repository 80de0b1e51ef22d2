"""`hearth ask`: one question to the model, answered as it comes; it leaves no conversation behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Invocation, WorkFailed, WrongInput, read_text_file, request, shared_options
from app.cli.output import complain, emit, printable, say
from app.cli.screen import Screen

if TYPE_CHECKING:
    from agents.contract import ChatDone, ChatEvent

_SCHEMA_LIMIT_BYTES = 1_000_000
QUESTION_LIMIT_CHARS = 200_000  # the contract's
_QUESTION_LIMIT_BYTES = 4 * QUESTION_LIMIT_CHARS  # UTF-8 takes at most four for a character


@click.command()
@shared_options
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A JSON schema: the answer is then one JSON value that follows it.",
)
@click.argument("text")
def ask(call: Invocation, schema: Path | None, text: str) -> None:
    """Ask the model one question.

    TEXT is the question; `-` reads it from the standard input. On a terminal the answer is written as it comes; into a
    pipe or a file it goes as a whole, so that a restart of the engine can't leave half of one there; Ctrl-C writes what
    there is. The question and its answer are not kept.
    """
    from agents.contract import ChatRequest

    body = request(ChatRequest, text=_question(text), save=False, json_schema=_schema(schema))
    with call.runtime() as client, closing(client.chat(body)) as events:
        as_it_comes = sys.stdout.isatty() and not call.json and schema is None
        parts: list[str] = []
        try:
            done = _follow(events, parts, as_it_comes=as_it_comes)
        except KeyboardInterrupt:
            if parts and not (as_it_comes or call.json or schema is not None):
                complain("The answer was interrupted; this is its beginning.")
                say("".join(parts))
            raise
    if call.json:
        emit(done)
    elif schema is not None:
        emit(_json_answer(done))
    elif not as_it_comes:
        say(done.text)
    if done.finish_reason == "length":
        complain("The answer was cut: it reached the limit of tokens.")


def _question(text: str) -> str:
    if text == "-":
        data = sys.stdin.buffer.read(_QUESTION_LIMIT_BYTES + 1)
        if len(data) > _QUESTION_LIMIT_BYTES:
            raise _too_long()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise WrongInput("The standard input is not UTF-8 text.") from None
    if not text.strip():
        raise WrongInput("The question is empty.")
    if len(text) > QUESTION_LIMIT_CHARS:
        raise _too_long()
    return text


def _too_long() -> WrongInput:
    return WrongInput(
        f"The question is too long; it may have {QUESTION_LIMIT_CHARS:,} characters, so ask about a part of it."
    )


def _schema(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    source = read_text_file(path, what="schema", limit_bytes=_SCHEMA_LIMIT_BYTES)
    try:
        schema = json.loads(source)
    except json.JSONDecodeError as error:
        raise WrongInput(f"The schema {path} is not JSON: line {error.lineno}: {error.msg}.") from None
    if not isinstance(schema, dict):
        raise WrongInput(f"The schema {path} must be a JSON object.")
    return schema


def _follow(events: Iterator[ChatEvent], parts: list[str], *, as_it_comes: bool) -> ChatDone:
    """Shows the answer while it grows; returns its end. `parts` holds what came of it so far."""
    from agents import contract
    from app.client import ProblemReported

    screen = Screen(sys.stderr)
    screen.hint("waiting for its turn…")
    for event in events:
        match event:
            case contract.ChatProgress(done_tokens=done, total_tokens=total) if total:
                screen.hint(f"reading the question, {100 * done // total} %")
            case contract.ChatDelta(text=text):
                screen.clear()
                parts.append(text)
                if as_it_comes:
                    sys.stdout.write(printable(text))
                    sys.stdout.flush()
            case contract.ChatRestarted(reason=reason):
                parts.clear()
                if as_it_comes:
                    sys.stdout.write("\n\n")
                screen.line(f"The engine ended ({reason.rstrip('.')}); the answer begins anew.")
            case contract.ChatFailed(error=problem):
                screen.clear()
                raise ProblemReported(problem, 500)
            case contract.ChatDone():
                screen.clear()
                if as_it_comes:
                    say()
                return event
            case _:
                pass
    raise WorkFailed("The runtime ended the answer without saying why; try again.")


def _json_answer(done: ChatDone) -> Any:
    try:
        return json.loads(done.text)
    except json.JSONDecodeError:
        raise WorkFailed("The answer was cut before its JSON was complete; ask for less.") from None
