"""The bodies of POST /v1/messages and /v1/messages/count_tokens and the engine request behind them; no I/O."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from agents.api.asking import with_seeds
from agents.api.callers import Caller
from agents.api.fields import (
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
    StopTexts,
    Text,
    TokenLimit,
    ToolName,
    one_constraint,
)
from agents.api.refusals import invalid
from engine.core import (
    MAX_TOOLS,
    Constraint,
    JsonSchema,
    Message,
    Request,
    SamplingParams,
    Tool,
    ToolCall,
    ToolChoice,
)


class CacheControl(Body):
    """Accepted and without effect: every prompt's beginning is kept as long as there is room."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(Body):
    type: Literal["text"]
    text: Text
    cache_control: CacheControl | None = None
    citations: Annotated[list[Any], Field(max_length=0)] | None = None


class UnreadableBlock(Body):
    model_config = ConfigDict(extra="allow")
    type: Literal["image", "document", "search_result", "thinking", "redacted_thinking"]


class ToolUseBlock(Body):
    type: Literal["tool_use"]
    id: CallId
    name: ToolName
    input: Json
    cache_control: CacheControl | None = None
    caller: Json | None = None


ResultPart = Annotated[TextBlock | UnreadableBlock, Field(discriminator="type")]


class ToolResultBlock(Body):
    type: Literal["tool_result"]
    tool_use_id: CallId
    content: Text | Annotated[list[ResultPart], Field(max_length=MAX_PARTS)] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


Block = Annotated[TextBlock | ToolUseBlock | ToolResultBlock | UnreadableBlock, Field(discriminator="type")]


class Turn(Body):
    role: Literal["user", "assistant"]
    content: Text | Annotated[list[Block], Field(min_length=1, max_length=MAX_PARTS)]


class OfferedTool(Body):
    """A tool of the caller's own; the service's tools do not exist here. Arguments always fit input_schema."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: Text | None = None
    input_schema: Json
    strict: bool | None = None
    cache_control: CacheControl | None = None


class AutoChoice(Body):
    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NoChoice(Body):
    type: Literal["none"]


class NamedChoice(Body):
    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool | None = None


class SchemaFormat(Body):
    type: Literal["json_schema"]
    schema_: Json = Field(alias="schema")


class OutputConfig(Body):
    format: SchemaFormat | None = None


class NoThinking(Body):
    type: Literal["disabled"]


class Metadata(Body):
    user_id: ShortText | None = None


class CountBody(Body):
    """POST /v1/messages/count_tokens: what of a message is read before the answer."""

    model: ModelName
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: Text | Annotated[list[TextBlock], Field(max_length=MAX_PARTS)] | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[AutoChoice | NoChoice | NamedChoice, Field(discriminator="type")] | None = None
    output_config: OutputConfig | None = None
    thinking: NoThinking | None = None
    cache_control: CacheControl | None = None


class MessageBody(CountBody, Extensions):
    """POST /v1/messages. `seed` and the fields of Extensions are Hearth's own."""

    max_tokens: TokenLimit
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    seed: Seed | None = None
    stop_sequences: StopTexts | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


def message_request(body: MessageBody, caller: Caller, request_id: str) -> Request:
    """The engine request. Raises Refusal or RequestInvalid."""
    if body.messages[-1].role == "assistant":
        raise invalid(
            "The last message must be the user's; an answer can't be begun for the model.", param="messages"
        )
    messages = _conversation(body)
    choice, name, parallel = _choice(body)
    given: dict[str, Any] = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "seed": body.seed,
        **body.own_sampling(),
    }
    request = Request(
        id=request_id,
        messages=messages,
        sampling=SamplingParams(
            max_tokens=body.max_tokens,
            stop=tuple(body.stop_sequences or ()),
            **{field: value for field, value in given.items() if value is not None},
        ),
        constraint=one_constraint(body.own_constraint(), _format(body), "output_config.format"),
        tools=_tools_of(body),
        tool_choice=choice,
        tool_name=name,
        parallel_tool_calls=parallel,
        priority=caller.priority,
        prefix=caller.prefix_of(messages),
    )
    return with_seeds(request, 1)[0]


def count_request(body: CountBody, request_id: str) -> Request:
    """A request with the prompt that a message of this body would have. Raises Refusal or RequestInvalid."""
    return Request(id=request_id, messages=_conversation(body), tools=_tools_of(body))


def _conversation(body: CountBody) -> tuple[Message, ...]:
    """The turns as the engine takes them; turns of one role in a row are one turn, as in the API."""
    messages: list[Message] = []
    if body.system:
        system = (
            body.system if isinstance(body.system, str) else "\n".join(block.text for block in body.system)
        )
        messages.append(Message(role="system", content=system))
    for index, turn in enumerate(body.messages):
        param = f"messages[{index}].content"
        blocks = (
            [TextBlock(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content
        )
        for place, block in enumerate(blocks):
            _add(messages, turn.role, block, f"{param}[{place}]" if turn.content is blocks else param)
    return tuple(messages)


def _tools_of(body: CountBody) -> tuple[Tool, ...]:
    return tuple(
        Tool(name=tool.name, description=tool.description or "", parameters=tool.input_schema)
        for tool in body.tools or ()
    )


def _add(messages: list[Message], role: str, block: Block, param: str) -> None:
    last = messages[-1] if messages else None
    same = last if last is not None and last.role == role else None
    match block:
        case TextBlock(text=text):
            if same is None:
                messages.append(Message(role=role, content=text))
            else:
                joined = f"{same.content}\n\n{text}" if same.content else text
                messages[-1] = Message(role=role, content=joined, tool_calls=same.tool_calls)
        case ToolUseBlock() if role == "assistant":
            arguments = json.dumps(block.input, ensure_ascii=False, separators=(",", ":"))
            call = ToolCall(id=block.id, name=block.name, arguments=arguments)
            calls = (*same.tool_calls, call) if same else (call,)
            content = same.content if same else ""
            messages[len(messages) - bool(same) :] = [Message(role=role, content=content, tool_calls=calls)]
        case ToolResultBlock() if role == "user":
            text = _result_text(block, param)
            messages.append(Message(role="tool", content=text, tool_call_id=block.tool_use_id))
        case UnreadableBlock():
            raise invalid(READS_TEXT_ONLY.format(kind=block.type), param=param)
        case _:
            raise invalid(
                f"A block of the type {block.type} can't stand in a turn of the {role}.", param=param
            )


def _result_text(block: ToolResultBlock, param: str) -> str:
    texts = [block.content] if isinstance(block.content, str) else []
    for part in () if isinstance(block.content, str) else block.content or ():
        if isinstance(part, UnreadableBlock):
            raise invalid(READS_TEXT_ONLY.format(kind=part.type), param=param)
        texts.append(part.text)
    text = "\n".join(texts)
    return f"Error: {text}" if block.is_error else text


def _choice(body: MessageBody) -> tuple[ToolChoice, str | None, bool]:
    match body.tool_choice:
        case NamedChoice(name=name, disable_parallel_tool_use=single):
            return ToolChoice.REQUIRED, name, not single
        case AutoChoice(type=kind, disable_parallel_tool_use=single):
            return (ToolChoice.REQUIRED if kind == "any" else ToolChoice.AUTO), None, not single
        case NoChoice():
            return ToolChoice.NONE, None, True
    return ToolChoice.AUTO, None, True


def _format(body: MessageBody) -> Constraint | None:
    wanted = body.output_config.format if body.output_config else None
    return JsonSchema(schema=wanted.schema_) if wanted else None
