"""Conversations with tools as chat templates take them, and in plain words for models whose template knows no tools."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from engine.core import MAX_JSON_DEPTH, Message, Tool, ToolCall, is_nested_deeper

_PLAIN_ID = re.compile(r"[A-Za-z0-9]{9}")  # Mistral's templates refuse all others


def turns_for_template(
    messages: Sequence[Message], tools: Sequence[Tool]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Messages and tools in the form that chat templates are written for: OpenAI's, with arguments as objects."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            turn["tool_calls"] = [_call_for_template(call) for call in message.tool_calls]
        if message.tool_call_id is not None:
            turn["tool_call_id"] = _plain_id(message.tool_call_id)
            turn["name"] = names.get(message.tool_call_id, "")
        turns.append(turn)
    return turns, [_tool_for_template(tool) for tool in tools] or None


def described(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The same conversation in words, in Hermes' form: tools in the system message, calls and results as text.

    Turns of the user that come to stand side by side become one, because many templates insist on taking turns.
    """
    if not tools and not any(message.tool_calls or message.role == "tool" for message in messages):
        return list(messages)
    turns: list[Message] = []
    for message in messages:
        turn = _in_words(message)
        if turns and turn.role == "user" == turns[-1].role:
            turns[-1] = replace(turns[-1], content=f"{turns[-1].content}\n{turn.content}")
        else:
            turns.append(turn)
    if tools:
        text = _describe(tools)
        if turns[0].role == "system":
            turns[0] = replace(turns[0], content=f"{turns[0].content}\n\n{text}")
        else:
            turns.insert(0, Message(role="system", content=text))
    return turns


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Plain JSON with every text in it changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change_texts(key, change): change_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [change_texts(item, change) for item in value]
    return value


def changed_message(message: Message, change: Callable[[str], str]) -> Message:
    """The message with every text of strangers in it changed. Arguments stay JSON: their texts are changed inside."""
    calls = tuple(
        replace(call, name=change(call.name), arguments=_changed_arguments(call.arguments, change))
        for call in message.tool_calls
    )
    return replace(message, content=change(message.content), tool_calls=calls)


def changed_tool(tool: Tool, change: Callable[[str], str]) -> Tool:
    """The tool with every text in it changed."""
    return Tool(
        name=change(tool.name),
        description=change(tool.description),
        parameters=change_texts(dict(tool.parameters), change),
    )


def _changed_arguments(arguments: str, change: Callable[[str], str]) -> str:
    value = _object(arguments)
    return change(arguments) if value is None else json.dumps(change_texts(value, change), ensure_ascii=False)


def _object(arguments: str) -> dict[str, Any] | None:
    """The arguments of a call, or None when they are no JSON object, as those from elsewhere may be."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not is_nested_deeper(value, MAX_JSON_DEPTH) else None


def _call_for_template(call: ToolCall) -> dict[str, Any]:
    value = _object(call.arguments)
    function = {"name": call.name, "arguments": call.arguments if value is None else value}
    return {"id": _plain_id(call.id), "type": "function", "function": function}


def _tool_for_template(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _plain_id(call_id: str) -> str:
    if _PLAIN_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _in_words(message: Message) -> Message:
    if message.role == "tool":
        return Message(role="user", content=f"<tool_response>\n{message.content}\n</tool_response>")
    if not message.tool_calls:
        return message
    calls = (
        f'<tool_call>\n{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}}}\n</tool_call>'
        for call in message.tool_calls
    )
    return Message(role="assistant", content="\n".join(filter(None, (message.content, *calls))))


def _describe(tools: Sequence[Tool]) -> str:
    listed = "\n".join(json.dumps(_tool_for_template(tool), ensure_ascii=False) for tool in tools)
    return (
        "You may call functions to help with the request. Their signatures are within <tools></tools>:\n"
        f"<tools>\n{listed}\n</tools>\n"
        "For each call write a JSON object with the function's name and arguments within tags:\n"
        '<tool_call>\n{"name": <name>, "arguments": <object of arguments>}\n</tool_call>'
    )
