"""Answers of POST /v1/responses, whole and as typed events; no I/O of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from agents.api.answering import frame
from agents.api.asking import Answer
from agents.api.fields import Json
from agents.api.openai.common import logprob_content
from agents.api.openai.responses_bodies import ResponseBody
from agents.api.refusals import Refusal
from engine.core import Delta, Finished, FinishReason, StreamEvent, TokenLogprob, ToolCall, ToolCalled, Usage


@dataclass(frozen=True, kw_only=True)
class ResponseHead:
    """What stays the same in every state of one response."""

    id: str
    created: int
    model: str
    body: ResponseBody

    def state(
        self, status: str, output: Sequence[Json], *, usage: Usage | None = None, **changes: Any
    ) -> Json:
        """The response object in a state."""
        body = self.body
        options = body.model_dump(mode="json", by_alias=True, include={"text", "tools", "tool_choice"})
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self.model,
            "output": list(output),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": (options["text"] or {}).get("format") or {"type": "text"}},
            "tool_choice": options["tool_choice"] or "auto",
            "tools": options["tools"] or [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
            "user": body.user,
            **changes,
        }

    def ended(self, output: Sequence[Json], reason: FinishReason, usage: Usage) -> Json:
        """The response object at its end: completed, or incomplete when the limit cut it."""
        if reason is FinishReason.LENGTH:
            details = {"reason": "max_output_tokens"}
            return self.state("incomplete", output, usage=usage, incomplete_details=details)
        return self.state("completed", output, usage=usage)


def response_answer(head: ResponseHead, answer: Answer) -> Json:
    """The body of an answer that is not streamed."""
    status = "incomplete" if answer.finish_reason is FinishReason.LENGTH else "completed"
    output: list[Json] = []
    if answer.text or not answer.tool_calls:
        logprobs = logprob_content(answer.logprobs)
        output.append(_message(_message_id(head), answer.text, logprobs, status))
    output += [_call(call, status="completed") for call in answer.tool_calls]
    return head.ended(output, answer.finish_reason, answer.usage)


class ResponseStream:
    """The typed events of one response, numbered; one output item is open at a time."""

    def __init__(self, head: ResponseHead) -> None:
        self._head = head
        self._number = 0
        self._output: list[Json] = []
        self._text: str | None = None  # of the open message
        self._logprobs: list[Json] = []

    async def frames(self, events: AsyncIterator[tuple[int, StreamEvent]]) -> AsyncGenerator[bytes, None]:
        """The frames of the stream."""
        begun = False
        async for _, event in events:
            if not begun:  # the first sign of the engine: nothing was refused
                begun = True
                yield self._state("response.created", self._head.state("in_progress", []))
                yield self._state("response.in_progress", self._head.state("in_progress", []))
            match event:
                case Delta() if event.text or event.logprobs:
                    for data in self._delta(event.text, event.logprobs):
                        yield data
                case ToolCalled():
                    for data in (*self._close_message("completed"), *self._called(event.call)):
                        yield data
                case Finished():
                    for data in self._finished(event):
                        yield data

    def failed(self, refusal: Refusal) -> bytes:
        """In the middle of a stream: the response has failed; no event follows."""
        code = "server_error" if refusal.status >= 500 else refusal.code or "invalid_prompt"
        error = {"code": code, "message": str(refusal)}
        return self._state("response.failed", self._head.state("failed", self._output, error=error))

    def _delta(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[bytes]:
        frames = [] if self._text is not None else self._open_message()
        content = logprob_content(logprobs)
        self._text = (self._text or "") + text
        self._logprobs += content
        place = {**self._place, "content_index": 0}
        frames.append(self._event("response.output_text.delta", **place, delta=text, logprobs=content))
        return frames

    def _finished(self, event: Finished) -> list[bytes]:
        cut = event.finish_reason is FinishReason.LENGTH
        frames = self._open_message() if not self._output and self._text is None else []
        frames += self._close_message("incomplete" if cut else "completed")
        kind = "response.incomplete" if cut else "response.completed"
        frames.append(self._state(kind, self._head.ended(self._output, event.finish_reason, event.usage)))
        return frames

    def _open_message(self) -> list[bytes]:
        self._text, self._logprobs = "", []
        item = {**_message(self._message_id, "", [], "in_progress"), "content": []}
        added = self._event("response.output_item.added", output_index=len(self._output), item=item)
        place = {**self._place, "content_index": 0}
        return [added, self._event("response.content_part.added", **place, part=_part("", []))]

    def _close_message(self, status: str) -> list[bytes]:
        if self._text is None:
            return []
        place = {**self._place, "content_index": 0}
        item = _message(self._message_id, self._text, self._logprobs, status)
        frames = [
            self._event("response.output_text.done", **place, text=self._text, logprobs=self._logprobs),
            self._event("response.content_part.done", **place, part=_part(self._text, self._logprobs)),
            self._event("response.output_item.done", output_index=len(self._output), item=item),
        ]
        self._output.append(item)
        self._text = None
        return frames

    def _called(self, call: ToolCall) -> list[bytes]:
        item = _call(call, status="completed")
        index = len(self._output)
        place = {"item_id": item["id"], "output_index": index}
        empty = {**item, "arguments": "", "status": "in_progress"}
        self._output.append(item)
        return [
            self._event("response.output_item.added", output_index=index, item=empty),
            self._event("response.function_call_arguments.delta", **place, delta=call.arguments),
            self._event(
                "response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments
            ),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    @property
    def _message_id(self) -> str:
        return _message_id(self._head, len(self._output))

    @property
    def _place(self) -> Json:
        return {"item_id": self._message_id, "output_index": len(self._output)}

    def _state(self, kind: str, response: Json) -> bytes:
        return self._event(kind, response=response)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return frame(data, event=kind)


def _message_id(head: ResponseHead, index: int = 0) -> str:
    return f"msg_{head.id.removeprefix('resp_')}_{index}"


def _message(item_id: str, text: str, logprobs: list[Json], status: str) -> Json:
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [_part(text, logprobs)],
    }


def _part(text: str, logprobs: list[Json]) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _call(call: ToolCall, *, status: str) -> Json:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
