"""Frames between runtime and child: what goes in comes out, and nothing else is believed."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import (
    Choice,
    FinishReason,
    Message,
    PinnedPrefix,
    Request,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
from engine.messages import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Abort,
    Count,
    Counted,
    CountPrompt,
    Done,
    Failed,
    FromChild,
    Hello,
    Progress,
    ProtocolError,
    Submit,
    Text,
    Texts,
    ToChild,
    body_size,
    frame_from_child,
    frame_to_child,
    parse_from_child,
    parse_to_child,
)
from engine.model import CacheSpec, KvType
from engine.plans import LoadPlan
from engine.safe_settings import LoadSettings
from tests.engine.support import load_message, request


def body(frame: bytes) -> bytes:
    assert body_size(frame[:HEADER_BYTES]) == len(frame) - HEADER_BYTES
    return frame[HEADER_BYTES:]


@pytest.mark.parametrize(
    "message",
    [
        load_message(n_threads=2, settings=LoadSettings(use_mmap=False), self_test=True),
        load_message(
            plan=LoadPlan(n_ctx=512, n_gpu_layers=-1, kv_type=KvType.Q8_0),
            cache=CacheSpec(folder=Path("/cache"), key="00" * 32),
        ),
        Submit(
            request=request(
                "é€🙂\0", temperature=0.0, stop=("a", "b"), seed=7, logit_bias={5: -1.5}, top_logprobs=2
            )
        ),
        Submit(
            request=request(json_schema={"type": "object", "properties": {"a": {"type": ["string", "null"]}}})
        ),
        Submit(request=Request(id="r", prompt="Once", constraint=Choice(options=("a", "b")))),
        Submit(
            request=Request(
                id="r",
                messages=(
                    Message(role="user", content="x"),
                    Message(
                        role="assistant",
                        content="",
                        tool_calls=(ToolCall(id="c1", name="f", arguments='{"a": 1}'),),
                    ),
                    Message(role="tool", content="done", tool_call_id="c1"),
                ),
                tools=(Tool(name="f", parameters={"type": "object"}),),
                tool_choice=ToolChoice.REQUIRED,
                prefix=PinnedPrefix(name="agent"),
            )
        ),
        Abort(id="r"),
        Count(id="c", texts=("", "x")),
        CountPrompt(id="p", request=Request(id="r", prompt="é")),
    ],
)
def test_a_message_to_the_child_survives(message: ToChild) -> None:
    assert parse_to_child(body(frame_to_child(message))) == message


@pytest.mark.parametrize(
    "message",
    [
        Hello(protocol=1, pid=7, build="b"),
        Progress(id="r", done_tokens=1, total_tokens=2),
        Texts(items=(Text(id="r", text="é🙂", tokens=2),)),
        Done(
            id="r",
            finish_reason=FinishReason.CANCELLED,
            usage=Usage(prompt_tokens=1, completion_tokens=2, prefill_s=0.5, decode_s=0.25),
        ),
        Failed(id="r", code="prompt_too_long", message="m", details={"n_ctx": 8, "keyword": "k"}),
        Counted(id="c", counts=(1, 2)),
    ],
)
def test_a_message_from_the_child_survives(message: FromChild) -> None:
    assert parse_from_child(body(frame_from_child(message))) == message


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    message = Texts(items=(Text(id="r", text=text, tokens=1),))
    assert parse_from_child(body(frame_from_child(message))) == message


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_frame_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="announces"):
        body_size(struct.pack(">I", size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"kind": "reboot"}',
        '{"kind": "texts", "items": [{"id": "r", "text": "x"}]}',
        '{"kind": "texts", "items": [{"id": "r", "text": "x", "tokens": "1"}]}',
        '{"kind": "counted", "id": "c", "counts": [1, "2"]}',
        '{"kind": "load", "path": "/m"}',
    ],
)
def test_what_is_no_message_of_the_child_is_refused_without_its_values(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_from_child(text.encode())


def test_a_refusal_does_not_quote_private_text() -> None:
    wrong = json.dumps({"kind": "texts", "items": [{"id": "r", "text": "private", "tokens": "private"}]})
    with pytest.raises(ProtocolError) as caught:
        parse_from_child(wrong.encode())
    assert "private" not in str(caught.value)


def test_no_repr_shows_text_of_the_user() -> None:
    secret = "my-private-text"
    submit = Submit(request=request(secret, json_schema={"description": secret}))
    assert secret not in repr((submit, Text(id="r", text=secret, tokens=1), Count(id="c", texts=(secret,))))
