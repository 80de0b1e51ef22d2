"""The body of POST /v1/chat/completions and the engine requests that it asks for; no I/O."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agents.api.asking import with_seeds
from agents.api.callers import Caller
from agents.api.fields import (
    MAX_MESSAGES,
    MAX_N,
    MAX_PARTS,
    Body,
    CallId,
    Json,
    ModelName,
    ShortText,
    Text,
    TokenLimit,
    ToolName,
    TopLogprobs,
    one_constraint,
)
from agents.api.openai.common import (
    ChoiceWord,
    Content,
    Function,
    Ignored,
    JsonFormat,
    PlainFormat,
    Sampled,
    StreamOptions,
    chosen,
    format_constraint,
    text_of,
)
from agents.api.refusals import invalid
from engine.core import MAX_TOOLS, Constraint, Message, Request, ToolCall, ToolChoice


class SystemTurn(Body):
    role: Literal["system", "developer"]
    content: Content
    name: ShortText | None = None


class UserTurn(Body):
    role: Literal["user"]
    content: Content
    name: ShortText | None = None


class CalledFunction(Body):
    name: ToolName
    arguments: Text


class Call(Body):
    id: CallId
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantTurn(Body):
    """Also as the official client gives an answer back, with its empty fields."""

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: Annotated[list[Call], Field(max_length=MAX_PARTS)] | None = None
    name: ShortText | None = None
    refusal: Text | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None


class ToolTurn(Body):
    role: Literal["tool"]
    content: Content
    tool_call_id: CallId


Turn = Annotated[SystemTurn | UserTurn | AssistantTurn | ToolTurn, Field(discriminator="role")]


class NamedSchema(Body):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Text | None = None
    schema_: Json | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


class OfferedTool(Body):
    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    name: ToolName


class NamedTool(Body):
    type: Literal["function"]
    function: NamedFunction


class ChatBody(Sampled, Ignored):
    """POST /v1/chat/completions."""

    model: ModelName
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: (
        Annotated[PlainFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None
    ) = None
    tools: Annotated[list[OfferedTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ChoiceWord | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: Literal[False] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    @property
    def shows_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def chat_requests(body: ChatBody, caller: Caller, request_id: str) -> tuple[Request, ...]:
    """One engine request for each choice. Raises Refusal or RequestInvalid."""
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options needs stream: true.", param="stream_options")
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("top_logprobs needs logprobs: true.", param="top_logprobs")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise invalid("Send max_completion_tokens or max_tokens, not both.", param="max_tokens")
    messages = tuple(_message(turn, f"messages[{index}]") for index, turn in enumerate(body.messages))
    tool_choice, tool_name = _choice(body)
    request = Request(
        id=request_id,
        messages=messages,
        sampling=body.sampling(
            body.max_completion_tokens or body.max_tokens,
            (body.top_logprobs or 0) if body.logprobs else None,
        ),
        constraint=one_constraint(body.own_constraint(), _format(body), "response_format"),
        tools=tuple(offered.function.tool() for offered in body.tools or ()),
        tool_choice=tool_choice,
        tool_name=tool_name,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        priority=caller.priority,
        prefix=caller.prefix_of(messages),
    )
    return with_seeds(request, body.n or 1)


def _message(turn: Turn, param: str) -> Message:
    content = text_of(turn.content, f"{param}.content")
    match turn:
        case SystemTurn():
            return Message(role="system", content=content)
        case UserTurn():
            return Message(role="user", content=content)
        case ToolTurn():
            return Message(role="tool", content=content, tool_call_id=turn.tool_call_id)
        case AssistantTurn():
            calls = tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
                for call in turn.tool_calls or ()
            )
            return Message(role="assistant", content=content or turn.refusal or "", tool_calls=calls)


def _format(body: ChatBody) -> Constraint | None:
    wanted = body.response_format
    if wanted is None:
        return None
    schema = wanted.json_schema.schema_ if isinstance(wanted, SchemaFormat) else None
    return format_constraint(wanted.type, schema)


def _choice(body: ChatBody) -> tuple[ToolChoice, str | None]:
    if isinstance(body.tool_choice, NamedTool):
        return chosen(body.tool_choice.function.name, named=True)
    return chosen(body.tool_choice, named=False)
