"""POST /v1/completions: raw prompts that are continued, in the older shape of the API; no I/O of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from agents.api.answering import frame
from agents.api.asking import Answer, with_seeds
from agents.api.callers import Caller
from agents.api.fields import MAX_N, Json, ModelName, Text, TokenLimit
from agents.api.openai.chat import DONE, FINISH_WORDS, Head
from agents.api.openai.common import Ignored, Sampled, StreamOptions, chat_usage, token_text
from agents.api.refusals import invalid
from engine.core import Delta, Finished, Request, StreamEvent, TokenLogprob, Usage

MAX_PROMPTS = 64
MAX_CHOICES = 64
DEFAULT_COMPLETION_TOKENS = 16


class CompletionBody(Sampled, Ignored):
    """POST /v1/completions. A prompt of token numbers is not taken: they mean something else to every model."""

    model: ModelName
    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]
    max_tokens: TokenLimit | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: None = None

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def echoes(self) -> list[str]:
        """What stands before the text of each choice."""
        return [prompt if self.echo else "" for prompt in self.prompts for _ in range(self.n or 1)]

    @property
    def shows_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def completion_requests(body: CompletionBody, caller: Caller, request_id: str) -> tuple[Request, ...]:
    """One engine request for each choice, the choices of the first prompt first. Raises Refusal or RequestInvalid."""
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options needs stream: true.", param="stream_options")
    if body.best_of not in (None, body.n or 1):
        raise invalid("best_of must be the same as n; ask for n answers and choose.", param="best_of")
    if len(body.prompts) * (body.n or 1) > MAX_CHOICES:
        raise invalid(f"There are more than {MAX_CHOICES} choices; ask for fewer at once.", param="n")
    if body.echo and body.logprobs is not None:
        raise invalid("The prompt has no log-probabilities; leave out echo or logprobs.", param="echo")
    sampling = body.sampling(body.max_tokens or DEFAULT_COMPLETION_TOKENS, body.logprobs)
    requests: list[Request] = []
    for index, prompt in enumerate(body.prompts):
        if not prompt:
            raise invalid("A prompt is empty; write at least one character.", param="prompt")
        request = Request(
            id=f"{request_id}-p{index}",
            prompt=prompt,
            sampling=sampling,
            constraint=body.own_constraint(),
            priority=caller.priority,
        )
        requests += with_seeds(request, body.n or 1)
    return tuple(requests)


def completion_answer(head: Head, body: CompletionBody, answers: Sequence[Answer]) -> Json:
    """The body of an answer that is not streamed."""
    choices = [
        {
            "index": index,
            "text": before + answer.text,
            "logprobs": _logprobs(answer.logprobs, 0) if body.logprobs is not None else None,
            "finish_reason": FINISH_WORDS[answer.finish_reason],
        }
        for index, (before, answer) in enumerate(zip(body.echoes, answers, strict=True))
    ]
    usage = _usage(body, [answer.usage for answer in answers])
    return {**head.of("text_completion"), "choices": choices, "usage": usage}


async def completion_chunks(
    head: Head, body: CompletionBody, events: AsyncIterator[tuple[int, StreamEvent]]
) -> AsyncGenerator[bytes, None]:
    """The frames of a stream."""
    shared = {**head.of("text_completion"), **({"usage": None} if body.shows_usage else {})}
    usages: dict[int, Usage] = {}
    offsets = [0] * len(body.echoes)

    def chunk(index: int, text: str, finish: str | None = None, logprobs: Json | None = None) -> bytes:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return frame({**shared, "choices": [choice]})

    begun = False
    async for index, event in events:
        if not begun:
            begun = True
            for each, before in enumerate(body.echoes):
                if before:
                    yield chunk(each, before)
        if isinstance(event, Delta) and (event.text or event.logprobs):
            logprobs = _logprobs(event.logprobs, offsets[index]) if body.logprobs is not None else None
            offsets[index] += len(event.text)
            yield chunk(index, event.text, logprobs=logprobs)
        elif isinstance(event, Finished):
            usages[index] = event.usage
            yield chunk(index, "", finish=FINISH_WORDS[event.finish_reason])
    if body.shows_usage:
        ordered = [usages[each] for each in range(len(body.echoes))]
        yield frame({**shared, "choices": [], "usage": _usage(body, ordered)})
    yield DONE


def _usage(body: CompletionBody, usages: Sequence[Usage]) -> Json:
    """Each prompt counts once, however many choices it has."""
    n = body.n or 1
    firsts = usages[::n]
    whole = replace(
        usages[0],
        prompt_tokens=sum(usage.prompt_tokens for usage in firsts),
        cached_tokens=sum(usage.cached_tokens for usage in firsts),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
    )
    return chat_usage([whole])


def _logprobs(logprobs: Sequence[TokenLogprob], offset: int) -> Json:
    tokens = [token_text(each.chosen) for each in logprobs]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [each.chosen.logprob for each in logprobs],
        "top_logprobs": [{token_text(other): other.logprob for other in each.top} for each in logprobs],
        "text_offset": offsets,
    }
