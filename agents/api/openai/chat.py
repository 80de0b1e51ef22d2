"""Answers of POST /v1/chat/completions, whole and as a stream of chunks; no I/O of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from agents.api.answering import frame
from agents.api.asking import Answer
from agents.api.fields import Json
from agents.api.openai.common import chat_usage, logprob_content, usage_of
from engine.core import Delta, Finished, FinishReason, StreamEvent, TokenLogprob, ToolCall, ToolCalled, Usage

DONE = b"data: [DONE]\n\n"
FINISH_WORDS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CANCELLED: "stop",
}


@dataclass(frozen=True, kw_only=True)
class Head:
    """What every chunk and the whole answer begin with."""

    id: str
    created: int
    model: str
    fingerprint: str

    def of(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def chat_answer(head: Head, answers: Sequence[Answer], *, with_logprobs: bool) -> Json:
    """The body of an answer that is not streamed."""
    choices = []
    for index, answer in enumerate(answers):
        message: Json = {
            "role": "assistant",
            "content": answer.text if answer.text or not answer.tool_calls else None,
            "refusal": None,
        }
        if answer.tool_calls:
            message["tool_calls"] = [_call(call) for call in answer.tool_calls]
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": _logprobs(answer.logprobs) if with_logprobs else None,
                "finish_reason": FINISH_WORDS[answer.finish_reason],
            }
        )
    return {**head.of("chat.completion"), "choices": choices, "usage": usage_of(answers)}


async def chat_chunks(
    head: Head,
    events: AsyncIterator[tuple[int, StreamEvent]],
    *,
    n: int,
    with_logprobs: bool,
    with_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """The frames of a stream. With usage, each chunk has the field, and the last one before [DONE] its value."""
    shared = {**head.of("chat.completion.chunk"), **({"usage": None} if with_usage else {})}
    usages: dict[int, Usage] = {}
    n_calls = [0] * n

    def chunk(index: int, delta: Json, finish: str | None = None, logprobs: Json | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return frame({**shared, "choices": [choice]})

    begun = False
    async for index, event in events:
        if not begun:  # the first sign of the engine: nothing was refused
            begun = True
            for each in range(n):
                yield chunk(each, {"role": "assistant", "content": "", "refusal": None})
        match event:
            case Delta() if event.text or event.logprobs:
                logprobs = _logprobs(event.logprobs) if with_logprobs else None
                yield chunk(index, {"content": event.text}, logprobs=logprobs)
            case ToolCalled():
                call = {"index": n_calls[index], **_call(event.call)}
                n_calls[index] += 1
                yield chunk(index, {"tool_calls": [call]})
            case Finished():
                usages[index] = event.usage
                yield chunk(index, {}, finish=FINISH_WORDS[event.finish_reason])
    if with_usage:
        yield frame({**shared, "choices": [], "usage": chat_usage([usages[each] for each in range(n)])})
    yield DONE


def _call(call: ToolCall) -> Json:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _logprobs(logprobs: Sequence[TokenLogprob]) -> Json:
    return {"content": logprob_content(logprobs), "refusal": None}
