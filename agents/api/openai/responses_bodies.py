"""The body of POST /v1/responses and the engine request that it asks for; no I/O."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from agents.api.asking import with_seeds
from agents.api.callers import Caller
from agents.api.fields import (
    DEFAULT_MAX_TOKENS,
    MAX_MESSAGES,
    MAX_PARTS,
    READS_TEXT_ONLY,
    Body,
    CallId,
    Extensions,
    Fraction,
    Json,
    ModelName,
    Seed,
    ShortText,
    Text,
    TokenLimit,
    ToolName,
    TopLogprobs,
    one_constraint,
)
from agents.api.openai.common import (
    ChoiceWord,
    Function,
    Ignored,
    JsonFormat,
    PlainFormat,
    StreamOptions,
    UnreadablePart,
    chosen,
    format_constraint,
)
from agents.api.refusals import invalid
from engine.core import MAX_TOOLS, Constraint, Message, Request, SamplingParams, ToolCall

LOGPROBS = "message.output_text.logprobs"


class InputText(Body):
    type: Literal["input_text"]
    text: Text


class OutputText(Body):
    """A part of an answer that is given back."""

    type: Literal["output_text"]
    text: Text
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: list[Any] | None = None


class RefusalText(Body):
    type: Literal["refusal"]
    refusal: Text


ItemPart = Annotated[InputText | OutputText | RefusalText | UnreadablePart, Field(discriminator="type")]
ItemContent = Text | Annotated[list[ItemPart], Field(max_length=MAX_PARTS)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class MessageItem(Body):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: ItemContent
    id: ShortText | None = None
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class CallItem(Body):
    type: Literal["function_call"]
    call_id: CallId
    name: ToolName
    arguments: Text
    id: ShortText | None = None
    status: ItemStatus | None = None


class CallOutputItem(Body):
    type: Literal["function_call_output"]
    call_id: CallId
    output: ItemContent
    id: ShortText | None = None
    status: ItemStatus | None = None


class ForeignItem(Body):
    """What refers to something that only a service stores, or that no model here writes."""

    model_config = ConfigDict(extra="allow")
    type: Literal["item_reference", "reasoning"]


# A message may leave its type out, so no single field tells the items apart.
Item = MessageItem | CallItem | CallOutputItem | ForeignItem


class SchemaFormat(Body):
    type: Literal["json_schema"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema_: Json = Field(alias="schema")
    description: Text | None = None
    strict: bool | None = None


class TextOptions(Body):
    format: Annotated[PlainFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = None


class OfferedFunction(Function):
    type: Literal["function"]


class NamedFunction(Body):
    type: Literal["function"]
    name: ToolName


class ResponseBody(Extensions, Ignored):
    """POST /v1/responses. Hearth keeps no responses, so a talk is sent whole each time."""

    model: ModelName
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: Text | None = None
    max_output_tokens: TokenLimit | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Fraction | None = None
    seed: Seed | None = None
    include: Annotated[list[Literal["message.output_text.logprobs"]], Field(max_length=1)] | None = None
    top_logprobs: TopLogprobs | None = None
    text: TextOptions | None = None
    tools: Annotated[list[OfferedFunction], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ChoiceWord | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["disabled"] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: Literal[False] | None = None
    store: bool | None = None
    previous_response_id: ShortText | None = None
    conversation: ShortText | Json | None = None

    @property
    def with_logprobs(self) -> bool:
        return bool(self.include) or self.top_logprobs is not None


def response_request(body: ResponseBody, caller: Caller, request_id: str) -> Request:
    """The engine request. Raises Refusal or RequestInvalid."""
    _refuse_what_needs_a_store(body)
    messages = _messages(body)
    tool_choice = body.tool_choice
    named = isinstance(tool_choice, NamedFunction)
    choice, tool_name = chosen(
        tool_choice.name if isinstance(tool_choice, NamedFunction) else tool_choice, named=named
    )
    request = Request(
        id=request_id,
        messages=messages,
        sampling=_sampling(body),
        constraint=one_constraint(body.own_constraint(), _format(body), "text.format"),
        tools=tuple(function.tool() for function in body.tools or ()),
        tool_choice=choice,
        tool_name=tool_name,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        priority=caller.priority,
        prefix=caller.prefix_of(messages),
    )
    return with_seeds(request, 1)[0]


def _refuse_what_needs_a_store(body: ResponseBody) -> None:
    for field in ("previous_response_id", "conversation"):
        if getattr(body, field) is not None:
            raise invalid(
                f"Hearth keeps no responses; send the whole talk as input and leave out {field}.", param=field
            )
    if body.store:
        raise invalid("Hearth keeps no responses; send store: false, or leave it out.", param="store")
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options needs stream: true.", param="stream_options")


def _sampling(body: ResponseBody) -> SamplingParams:
    given: dict[str, Any] = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "seed": body.seed,
        **body.own_sampling(),
    }
    return SamplingParams(
        max_tokens=body.max_output_tokens or DEFAULT_MAX_TOKENS,
        top_logprobs=(body.top_logprobs or 0) if body.with_logprobs else None,
        **{name: value for name, value in given.items() if value is not None},
    )


def _format(body: ResponseBody) -> Constraint | None:
    wanted = body.text.format if body.text else None
    if wanted is None:
        return None
    return format_constraint(wanted.type, wanted.schema_ if isinstance(wanted, SchemaFormat) else None)


def _messages(body: ResponseBody) -> tuple[Message, ...]:
    messages: list[Message] = []
    if body.instructions:
        messages.append(Message(role="system", content=body.instructions))
    if isinstance(body.input, str):
        return (*messages, Message(role="user", content=body.input))
    for index, item in enumerate(body.input):
        param = f"input[{index}]"
        match item:
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                messages.append(Message(role=role, content=_text(item.content, f"{param}.content")))
            case CallItem():
                _add_call(messages, ToolCall(id=item.call_id, name=item.name, arguments=item.arguments))
            case CallOutputItem():
                content = _text(item.output, f"{param}.output")
                messages.append(Message(role="tool", content=content, tool_call_id=item.call_id))
            case ForeignItem():
                raise invalid(
                    f"An item of the type {item.type} can't be read here; leave it out.", param=param
                )
    return tuple(messages)


def _add_call(messages: list[Message], call: ToolCall) -> None:
    """Calls are items of their own here, and part of the assistant's turn for a model."""
    if messages and messages[-1].role == "assistant":
        last = messages.pop()
        messages.append(Message(role="assistant", content=last.content, tool_calls=(*last.tool_calls, call)))
    else:
        messages.append(Message(role="assistant", content="", tool_calls=(call,)))


def _text(content: ItemContent, param: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        match part:
            case UnreadablePart():
                raise invalid(READS_TEXT_ONLY.format(kind=part.type), param=f"{param}[{index}]")
            case RefusalText():
                texts.append(part.refusal)
            case _:
                texts.append(part.text)
    return "\n".join(texts)
