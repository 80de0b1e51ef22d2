"""Answers of POST /v1/messages, whole and as named events; no I/O of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from agents.api.answering import frame
from agents.api.asking import Answer
from agents.api.fields import Json
from engine.core import Delta, Finished, FinishReason, Prefill, StreamEvent, ToolCall, ToolCalled, Usage

STOP_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CANCELLED: "end_turn",
}


@dataclass(frozen=True, kw_only=True)
class MessageHead:
    """What every answer begins with."""

    id: str
    model: str

    def message(self, content: list[Json], usage: Json, **changes: Any) -> Json:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
            **changes,
        }


def message_answer(head: MessageHead, answer: Answer) -> Json:
    """The body of an answer that is not streamed."""
    content: list[Json] = [{"type": "text", "text": answer.text}] if answer.text else []
    content += [{**_call(call), "input": json.loads(call.arguments)} for call in answer.tool_calls]
    return head.message(content, _usage(answer.usage), **_end(answer))


async def message_events(
    head: MessageHead, events: AsyncIterator[tuple[int, StreamEvent]]
) -> AsyncGenerator[bytes, None]:
    """The frames of a stream. What of the prompt was kept is known at the end alone, so message_delta tells it."""
    started = False
    index, is_open = 0, False
    async for _, event in events:
        if not started:
            started = True
            tokens = event.total_tokens if isinstance(event, Prefill) else 0
            usage = {"input_tokens": tokens, "output_tokens": 0}
            yield _event("message_start", message=head.message([], usage))
        match event:
            case Delta() if event.text:
                if not is_open:
                    is_open = True
                    yield _event(
                        "content_block_start", index=index, content_block={"type": "text", "text": ""}
                    )
                delta = {"type": "text_delta", "text": event.text}
                yield _event("content_block_delta", index=index, delta=delta)
            case ToolCalled():
                if is_open:
                    is_open = False
                    yield _event("content_block_stop", index=index)
                    index += 1
                for data in _call_events(index, event.call):
                    yield data
                index += 1
            case Finished():
                if is_open:
                    yield _event("content_block_stop", index=index)
                yield _event("message_delta", delta=_end(event), usage=_usage(event.usage))
                yield _event("message_stop")


def _call_events(index: int, call: ToolCall) -> list[bytes]:
    return [
        _event("content_block_start", index=index, content_block={**_call(call), "input": {}}),
        _event(
            "content_block_delta",
            index=index,
            delta={"type": "input_json_delta", "partial_json": call.arguments},
        ),
        _event("content_block_stop", index=index),
    ]


def _end(answer: Answer | Finished) -> Json:
    reason = STOP_REASONS[answer.finish_reason] if answer.stop is None else "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": answer.stop}


def _call(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _event(kind: str, **fields: Any) -> bytes:
    return frame({"type": kind, **fields}, event=kind)


def _usage(usage: Usage) -> Json:
    """Here the tokens that needed no computing are not part of the input tokens."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
