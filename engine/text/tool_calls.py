"""How models write tool calls: the formats, the grammar that holds an answer to them, and the reader that takes them out.

The model's chat template shows its format; a model that knows no tools gets Hermes' format explained to it.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from engine.core import Request, Tool, ToolCall, ToolChoice
from engine.errors import RequestInvalid

MAX_CALLS = 16  # in one answer
_ID_LETTERS = string.ascii_letters + string.digits
_ID_SIZE = 9  # what Mistral's templates insist on; all others take any text
_OPEN_ENDED = ("additionalProperties", "unevaluatedProperties", "patternProperties")
_COMPOSED = ("allOf", "anyOf", "oneOf", "$ref")
# Models are trained on the spaces that Python's json module writes; without them they stumble.
_SPACED = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    "coerce_one_of": False,
    "lenient": False,
}


@dataclass(frozen=True, kw_only=True)
class CallFormat:
    """The text of calls: begin opened (lead NAME between ARGUMENTS tail) joint (lead …) closed.

    begin announces calls; it is one token of its own in the vocabularies of some models. lead and between never
    occur inside a name. The name is written as JSON (without its quotes) where lead ends with a quote.
    """

    begin: str
    opened: str = ""
    lead: str
    between: str
    tail: str
    joint: str = ""  # between two calls
    closed: str = ""  # behind the last
    result: str = ""  # begins a tool's result, which a model must not make up
    at_start: bool = False  # a call is the whole answer, or there is none
    many: bool = True

    @property
    def name_is_json(self) -> bool:
        """Whether the name stands between quotes."""
        return self.lead.endswith('"')

    def shows(self, name: str, text: str) -> bool:
        """Whether a text, as a template made it, holds a call of that tool in this format."""
        place = text.find(self.begin)
        return place >= 0 and (self.lead + name + self.between).rstrip() in text[place:]


class CallStyle(Enum):
    """The formats that are known."""

    HERMES = CallFormat(
        begin="<tool_call>",
        opened="\n",
        lead='{"name": "',
        between='", "arguments": ',
        tail="}\n</tool_call>",
        joint="\n<tool_call>\n",
        result="<tool_response",
    )
    LLAMA = CallFormat(
        begin='{"name": "',
        lead='{"name": "',
        between='", "parameters": ',
        tail="}",
        at_start=True,
        many=False,
    )
    MISTRAL = CallFormat(
        begin="[TOOL_CALLS]",
        opened="[",
        lead='{"name": "',
        between='", "arguments": ',
        tail="}",
        joint=", ",
        closed="]",
    )
    MISTRAL_ARGS = CallFormat(
        begin="[TOOL_CALLS]", lead="", between="[ARGS]", tail="", joint="[TOOL_CALLS]"
    )  # the newer one: [TOOL_CALLS]name[ARGS]{…}

    @property
    def format(self) -> CallFormat:
        """The texts of this style."""
        return self.value


# What content must not forge, beside the vocabulary's control tokens.
MARKS = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "<|python_tag|>",
)


def may_call(request: Request) -> bool:
    """Whether an answer can hold tool calls."""
    return bool(request.tools) and request.tool_choice is not ToolChoice.NONE


def call_grammar(request: Request, style: CallStyle, control: Mapping[str, int]) -> str:
    """The grammar, in llguidance's Lark, of the answers to a request that offers tools.

    control gives the token of each mark that is a control token of the vocabulary. Raises RequestInvalid.
    """
    form = style.format
    tools = [tool for tool in request.tools if request.tool_name in (None, tool.name)]
    many = form.many and request.parallel_tool_calls and request.tool_name is None
    required = request.tool_choice is ToolChoice.REQUIRED
    begin = _mark(form.begin, control)
    inner = "" if form.lead == form.begin else f"{begin} {_text(form.opened, control)}"
    joined = f" ({_text(form.joint, control)} call){{0,{MAX_CALLS - 1}}}" if many else ""
    calls = f"call{joined} {_text(form.closed, control)}"
    lines = [f"calls: {calls}", f"call: {' | '.join(f'call_{number}' for number in range(len(tools)))}"]
    if required:
        lines.insert(0, f"start: {inner} calls")
    elif form.at_start:
        lines.insert(0, "start: FREE | calls")
        lines.append(r'FREE: /(.|\n)*/ & ~/\s*\{\s*"name"\s*:(.|\n)*/')
    else:
        free = r"/(.|\n)*/" + (rf" & ~/(.|\n)*{form.result}(.|\n)*/" if form.result else "")
        lines.insert(0, f"start: FREE | head {_text(form.opened, control)} calls")
        lines.append(f"head: FREE {begin}" if form.begin in control else f"head[lazy]: FREE {begin}")
        lines.append(f"FREE: {free}")
    for number, tool in enumerate(tools):
        name = json.dumps(tool.name, ensure_ascii=False)[1:-1] if form.name_is_json else tool.name
        before, behind = _text(form.lead + name + form.between, control), _text(form.tail, control)
        lines.append(f"call_{number}: {before} arguments_{number} {behind}")
        lines.append(f"arguments_{number}: %json {json.dumps(_arguments_schema(tool), ensure_ascii=False)}")
    return "\n".join(lines)


def _arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments, closed where its author left it open without a word.

    JSON Schema allows any further property by default; hardly any tool means that, and a small model makes them up.
    """
    schema = dict(tool.parameters)
    kind = schema.setdefault("type", "object")
    if kind != "object":
        raise RequestInvalid(
            f"The parameters of the tool {tool.name[:60]!r} must be the JSON schema of an object."
        )
    if not any(key in schema for key in (*_OPEN_ENDED, *_COMPOSED)) and "properties" in schema:
        schema["additionalProperties"] = False
    schema["x-guidance"] = _SPACED
    return schema


def _mark(text: str, control: Mapping[str, int]) -> str:
    return f"<[{control[text]}]>" if text in control else json.dumps(text, ensure_ascii=False)


def _text(text: str, control: Mapping[str, int]) -> str:
    """A text as terms of the grammar; marks in it that are control tokens stand as such."""
    if not text:
        return ""
    if not control:
        return json.dumps(text, ensure_ascii=False)
    parts = re.split("(" + "|".join(map(re.escape, control)) + ")", text)
    return " ".join(_mark(part, control) for part in parts if part)


def new_call_id() -> str:
    """An id for a call, in the form that all chat templates take."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_SIZE))


class CallTextReader:
    """Takes the calls out of an answer that the grammar above holds to its format. A CallReader."""

    def __init__(self, style: CallStyle, *, new_id: Callable[[], str] = new_call_id) -> None:
        self._form = style.format
        self._new_id = new_id
        self._held = ""
        self._passed_text = False
        self._name: str | None = None
        self._object = _ObjectEnd()
        self._seen: set[tuple[str, str]] = set()
        self.in_calls = False
        self.repeats = False  # small models write the same call again and again where another one may follow

    @property
    def is_cut(self) -> bool:
        """Whether another call has begun and is not complete."""
        if self._name is not None:
            return True
        end = self._form.tail + self._form.closed
        return self.in_calls and not end.startswith(self._held.rstrip())

    def feed(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text that belongs to no call, and the calls that are complete now."""
        if self.repeats:
            return "", ()
        self._held += text
        passed = "" if self.in_calls else self._pass_text()
        calls: list[ToolCall] = []
        while self.in_calls and not self.repeats and (call := self._next_call()) is not None:
            self.repeats = (call.name, call.arguments) in self._seen
            if not self.repeats:
                self._seen.add((call.name, call.arguments))
                calls.append(call)
        return passed, tuple(calls)

    def flush(self) -> str:
        """The text that only looked like a beginning. A call that was cut in the middle is no text: it is dropped."""
        passed, self._held = "" if self.in_calls else self._held, ""
        return passed

    def _pass_text(self) -> str:
        begin = self._form.begin
        place = self._held.find(begin)
        if self._form.at_start and (place > 0 or self._passed_text):
            place = -1
        if place >= 0:
            passed, self._held = self._held[:place], self._held[place:]
            self.in_calls = True
            if self._form.lead != begin:
                self._held = self._held[len(begin) :]
            return passed
        n_kept = 0
        if not (self._form.at_start and (self._passed_text or not begin.startswith(self._held))):
            n_kept = _n_begun(self._held, begin)
        cut = len(self._held) - n_kept
        passed, self._held = self._held[:cut], self._held[cut:]
        self._passed_text = self._passed_text or bool(passed)
        return passed

    def _next_call(self) -> ToolCall | None:
        form = self._form
        if self._name is None:
            start = self._held.find(form.lead)
            middle = self._held.find(form.between, start + len(form.lead)) if start >= 0 else -1
            if middle < 0:
                return None
            written = self._held[start + len(form.lead) : middle]
            if form.name_is_json:
                self._name = str(json.loads(f'"{written}"'))
            else:
                self._name = written.rpartition(form.begin)[
                    2
                ]  # the joint of the call before is still in front
            self._held = self._held[middle + len(form.between) :]
            self._object = _ObjectEnd()
        end = self._object.find(self._held)
        if end is None:
            return None
        call = ToolCall(id=self._new_id(), name=self._name, arguments=self._held[:end])
        self._held = self._held[end:]
        self._name = None
        return call


class _ObjectEnd:
    """Finds where a JSON object ends in a text that grows; what was looked at is not looked at again."""

    _SIGNS = re.compile(r'["\\{}]')

    def __init__(self) -> None:
        self._place = 0
        self._depth = 0
        self._in_string = False

    def find(self, text: str) -> int | None:
        while (sign := self._SIGNS.search(text, self._place)) is not None:
            self._place = sign.end()
            match sign[0]:
                case "\\":
                    if self._place == len(text):  # what it escapes has not come yet
                        self._place -= 1
                        return None
                    self._place += 1
                case '"':
                    self._in_string = not self._in_string
                case "{" if not self._in_string:
                    self._depth += 1
                case "}" if not self._in_string:
                    self._depth -= 1
                    if self._depth == 0:
                        return self._place
                case _:
                    pass
        self._place = len(text)
        return None


def _n_begun(text: str, mark: str) -> int:
    """The length of the longest end of the text that the mark begins with."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if mark.startswith(text[-size:])), 0)
