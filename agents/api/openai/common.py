"""What several routes of the OpenAI API share: sampling fields, content parts, output formats, tools and usage."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from agents.api.asking import Answer
from agents.api.fields import (
    DEFAULT_MAX_TOKENS,
    MAX_PARTS,
    READS_TEXT_ONLY,
    Body,
    Extensions,
    Fraction,
    Json,
    Penalty,
    Seed,
    ShortText,
    StopText,
    StopTexts,
    Text,
    ToolName,
)
from agents.api.refusals import invalid
from engine.core import (
    Alternative,
    Constraint,
    JsonSchema,
    SamplingParams,
    TokenLogprob,
    Tool,
    ToolChoice,
    Usage,
)


class Ignored(Body):
    """Fields that say something to a service with accounts, and nothing to a program on the user's own computer."""

    user: ShortText | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    service_tier: Literal["auto", "default"] | None = None
    metadata: Annotated[dict[ShortText, ShortText], Field(max_length=16)] | None = None


class Sampled(Extensions):
    """The sampling fields of chat and completions."""

    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Fraction | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        Annotated[dict[str, Annotated[float, Field(ge=-100.0, le=100.0)]], Field(max_length=300)] | None
    ) = None
    seed: Seed | None = None
    stop: StopText | StopTexts | None = None

    def sampling(self, max_tokens: int | None, top_logprobs: int | None) -> SamplingParams:
        """What was given, and the engine's defaults for the rest."""
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": self.seed,
            **self.own_sampling(),
        }
        return SamplingParams(
            max_tokens=max_tokens or DEFAULT_MAX_TOKENS,
            top_logprobs=top_logprobs,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            logit_bias={_token(key): value for key, value in (self.logit_bias or {}).items()},
            **{name: value for name, value in given.items() if value is not None},
        )


def _token(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 10):
        raise invalid("A key of logit_bias must be the number of a token.", param="logit_bias")
    return int(key)


class StreamOptions(Body):
    """How a stream is sent. Nothing here is obfuscated, since nothing leaves the computer."""

    include_usage: bool = False
    include_obfuscation: bool = False


# --- content ---------------------------------------------------------------------------------------------------------


class TextPart(Body):
    type: Literal["text"]
    text: Text


class UnreadablePart(Body):
    """What only a model with eyes or ears could take; refused with a sentence and not as an unknown type."""

    model_config = ConfigDict(extra="allow")
    type: Literal["image_url", "input_audio", "file", "input_image", "input_file", "video_url"]


Part = Annotated[TextPart | UnreadablePart, Field(discriminator="type")]
Content = Text | Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS)]


def text_of(content: Content | None, param: str) -> str:
    """The text of a message's content. Raises Refusal for a part that is none."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        if isinstance(part, UnreadablePart):
            raise invalid(READS_TEXT_ONLY.format(kind=part.type), param=f"{param}[{index}]")
        texts.append(part.text)
    return "\n".join(texts)


# --- output formats and tools ------------------------------------------------------------------------------------------


class PlainFormat(Body):
    type: Literal["text"]


class JsonFormat(Body):
    type: Literal["json_object"]


def format_constraint(kind: str, schema: Json | None) -> Constraint | None:
    """A response format as what holds the engine to it; a JSON format without a schema takes any object."""
    if kind == "text":
        return None
    return JsonSchema(schema={"type": "object"} if schema is None else schema)


class Function(Body):
    """A function that may be called; its arguments always fit `parameters`, so `strict` changes nothing."""

    name: ToolName
    description: Text | None = None
    parameters: Json | None = None
    strict: bool | None = None

    def tool(self) -> Tool:
        parameters = {"type": "object", "properties": {}} if self.parameters is None else self.parameters
        return Tool(name=self.name, description=self.description or "", parameters=parameters)


ChoiceWord = Literal["none", "auto", "required"]


def chosen(word_or_name: ChoiceWord | str | None, *, named: bool) -> tuple[ToolChoice, str | None]:
    """tool_choice as the engine takes it: whether to call, and which tool alone."""
    if named:
        return ToolChoice.REQUIRED, word_or_name
    return ToolChoice(word_or_name or "auto"), None


# --- usage and log-probabilities -----------------------------------------------------------------------------------------


def chat_usage(usages: Sequence[Usage]) -> Json:
    """What one call cost: its prompt once, and the tokens of all choices."""
    prompt, completion = usages[0].prompt_tokens, sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
    }


def usage_of(answers: Sequence[Answer]) -> Json:
    return chat_usage([answer.usage for answer in answers])


def token_text(alternative: Alternative) -> str:
    """A token as text; bytes that are part of a code point become replacement characters, as the API does it."""
    return base64.b64decode(alternative.data).decode("utf-8", "replace")


def _alternative(alternative: Alternative) -> Json:
    data = base64.b64decode(alternative.data)
    return {
        "token": data.decode("utf-8", "replace"),
        "logprob": alternative.logprob,
        "bytes": list(data),
    }


def logprob_content(logprobs: Sequence[TokenLogprob]) -> list[Json]:
    """The log-probabilities of chat and responses."""
    return [
        {**_alternative(each.chosen), "top_logprobs": [_alternative(other) for other in each.top]}
        for each in logprobs
    ]
