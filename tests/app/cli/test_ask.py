"""`hearth ask`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from agents.contract import (
    ChatDelta,
    ChatDone,
    ChatFailed,
    ChatProgress,
    ChatRequest,
    ChatRestarted,
    ChatStarted,
    Problem,
)
from app.cli import ask as ask_module
from app.client import RuntimeClient
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime


def done(text: str, finish_reason: str = "stop") -> ChatDone:
    return ChatDone(
        text=text, finish_reason=finish_reason, prompt_tokens=5, completion_tokens=3, tokens_per_s=90.0
    )


def answer(*words: str) -> list[object]:
    progress = ChatProgress(done_tokens=5, total_tokens=5)
    return [ChatStarted(), progress, *(ChatDelta(text=word) for word in words), done("".join(words))]


def test_an_answer_is_printed_and_nothing_is_kept(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.chat_script = answer("The ", "sky.")
    ended = hearth("ask", "What is blue?")
    assert (ended.code, ended.out, ended.err) == (0, "The sky.\n", "")
    assert fake.bodies[0].text == "What is blue?"
    assert fake.bodies[0].save is False


def test_a_dash_reads_the_question_from_the_standard_input(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.chat_script = answer("Yes.")
    hearth("ask", "-", stdin="Grüße?\n".encode())
    assert fake.bodies[0].text == "Grüße?\n"


def test_json_is_the_end_of_the_answer_as_the_contract_has_it(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.chat_script = answer("Yes.")
    assert ChatDone.model_validate_json(hearth("ask", "--json", "Really?").out) == done("Yes.")


def test_with_a_schema_the_answer_is_one_json_value(
    hearth: Hearth, fake: ScriptedRuntime, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    fake.chat_script = answer('{"colour":', '"blue"}')
    ended = hearth("ask", "--schema", schema, "What is blue?")
    assert json.loads(ended.out) == {"colour": "blue"}
    assert fake.bodies[0].json_schema == {"type": "object"}


def test_json_that_was_cut_is_a_failure(hearth: Hearth, fake: ScriptedRuntime, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text("{}")
    fake.chat_script = [done('{"colour":', "length")]
    ended = hearth("ask", "--schema", schema, "What is blue?")
    assert (ended.code, ended.out) == (1, "")
    assert "cut before its JSON was complete" in ended.sentence()


def test_an_answer_that_was_cut_says_so(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.chat_script = [done("The sky is", "length")]
    ended = hearth("ask", "Why?")
    assert (ended.code, ended.out) == (0, "The sky is\n")
    assert "limit of tokens" in ended.sentence()


def test_a_restart_of_the_engine_leaves_no_half_answer_in_a_pipe(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.chat_script = [
        ChatDelta(text="The s"),
        ChatRestarted(reason="killed by SIGKILL"),
        *answer("The sky."),
    ]
    ended = hearth("ask", "Why?")
    assert ended.out == "The sky.\n"
    assert ended.sentence() == "The engine ended (killed by SIGKILL); the answer begins anew."


def test_a_terminal_shows_the_answer_as_it_comes_and_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    seen = []

    def events():  # type: ignore[no-untyped-def]
        yield ChatDelta(text="The \x1b[31msky\x07")
        seen.append(shown.getvalue())
        yield ChatDelta(text=".")
        yield done("The sky.")

    ask_module._follow(events(), [], as_it_comes=True)
    assert seen == ["The [31msky"]
    assert shown.getvalue() == "The [31msky.\n"


def test_ctrl_c_writes_what_there_is_and_nothing_of_an_answer_that_became_void(
    hearth: Hearth, fake: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(*_: object) -> Iterator[object]:
        yield ChatDelta(text="Void")
        yield ChatRestarted(reason="it was killed")
        yield ChatDelta(text="The s")
        raise KeyboardInterrupt

    monkeypatch.setattr(RuntimeClient, "chat", events)
    ended = hearth("ask", "Why?")
    assert (ended.code, ended.out) == (130, "The s\n")
    assert "The answer was interrupted; this is its beginning." in ended.err
    assert hearth("ask", "--json", "Why?").out == "", "half an object is of no use to a program"


@pytest.mark.parametrize(("code", "exit_code"), [("engine", 1), ("usage", 2)])
def test_a_failed_answer_ends_with_its_own_sentence(
    hearth: Hearth, fake: ScriptedRuntime, code: str, exit_code: int
) -> None:
    fake.chat_script = [ChatFailed(error=Problem(code=code, message="The model was set aside."))]
    ended = hearth("ask", "Why?")
    assert (ended.code, ended.sentence()) == (exit_code, "The model was set aside.")


def test_a_stream_that_ends_without_an_end_is_no_answer(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.chat_script = [ChatDelta(text="The s")]
    ended = hearth("ask", "Why?")
    assert (ended.code, ended.out) == (3, "")
    assert "ended in the middle of the answer; start it with `hearth serve` and ask again" in ended.sentence()


def test_an_answer_that_a_stop_cut_ends_with_the_runtimes_own_sentence_alone(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    sentence = "Hearth was stopped in the middle of the answer; start it and ask again."
    fake.chat_script = [ChatDelta(text="The s"), ChatFailed(error=Problem(code="stopped", message=sentence))]
    ended = hearth("ask", "Why?")
    assert (ended.code, ended.sentence()) == (1, sentence)


def test_the_longest_question_is_the_one_that_the_contract_allows(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.chat_script = answer("Yes.")
    assert hearth("ask", "-", stdin="€".encode() * ask_module.QUESTION_LIMIT_CHARS).code == 0
    with pytest.raises(ValidationError):
        ChatRequest(text="x" * (ask_module.QUESTION_LIMIT_CHARS + 1))


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["ask", "-"], b"", "question is empty"),
        (["ask", "  "], b"", "question is empty"),
        (["ask", "-"], b"\xff\xfe\xfa", "not UTF-8"),
        (["ask", "x" * 200_001], b"", "The question is too long"),
        (["ask", "-"], b"x" * 200_001, "The question is too long"),
        (["ask", "-"], "€".encode() * 300_000, "The question is too long"),
        (["ask", "--schema", "/nowhere/schema.json", "x"], b"", "There is no schema at"),
        (["ask", "--schema", "/", "x"], b"", "is a folder"),
    ],
    ids=[
        "nothing on stdin",
        "blanks",
        "binary",
        "too long",
        "too long on stdin",
        "far too long on stdin",
        "no schema",
        "a folder as schema",
    ],
)
def test_a_question_that_can_not_be_asked_is_wrong_usage(
    hearth: Hearth, fake: ScriptedRuntime, arguments: list[str], stdin: bytes, expected: str
) -> None:
    ended = hearth(*arguments, stdin=stdin)
    assert ended.code == 2
    assert expected in ended.sentence()
    assert fake.asked == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b'{"type": \n nonsense}', "is not JSON: line 2"),
        (b"[1]", "must be a JSON object"),
        (b"\xff\xff", "is not UTF-8"),
        (b" " * 1_000_001, "is too large"),
    ],
    ids=["no JSON", "a list", "binary", "huge"],
)
def test_a_schema_that_can_not_be_used_is_wrong_usage(
    hearth: Hearth, tmp_path: Path, source: bytes, expected: str
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_bytes(source)
    ended = hearth("ask", "--schema", schema, "x")
    assert ended.code == 2
    assert expected in ended.sentence()
