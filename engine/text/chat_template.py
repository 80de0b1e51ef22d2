"""Renders a conversation with the chat template that the model file carries, inside a sandbox.

Runs in: engine child, engine thread only. A template is code from a stranger: it runs in a sandbox
(text/template_sandbox.py), with limits on its size, its output and (where the system offers that) its time and memory;
elsewhere the supervisor's watch over a silent child is the limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import jinja2

from engine.core import Message, Tool, ToolCall
from engine.errors import ModelInvalid, RequestInvalid
from engine.text.template_sandbox import Sandbox, TooSlow, limits
from engine.text.tool_calls import CallStyle
from engine.text.tool_turns import described, turns_for_template

MAX_TEMPLATE_CHARS = 262_144
MAX_OUTPUT_CHARS = 8_000_000
TIME_LIMIT_S = 5.0
PROBE_TIME_LIMIT_S = 0.5  # while the model is loaded, and the supervisor waits for signs of life
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_WORD_JOINER = "\u2060"
_PROBE_TOOL = Tool(
    name="look_up",
    description="Looks up a word.",
    parameters={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)
_PROBE_CALL = ToolCall(id="probe0001", name="look_up", arguments='{"word": "hearth"}')
_PROBE_RESULT = "a place for a fire"
_PROBE = (
    Message(role="user", content="What is a hearth?"),
    Message(role="assistant", content="", tool_calls=(_PROBE_CALL,)),
    Message(role="tool", content=_PROBE_RESULT, tool_call_id=_PROBE_CALL.id),
)


class _Refused(jinja2.TemplateError):
    """The template itself refused the conversation."""


def _raise_exception(message: object) -> str:
    raise _Refused(str(message))


def _to_json(value: object, indent: int | None = None, **_ignored: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _strftime_now(layout: str) -> str:
    return datetime.now(UTC).strftime(layout)


def special_text_pattern(texts: Sequence[str]) -> re.Pattern[str] | None:
    """A pattern for disarm(); texts of one character are left alone, they can't be broken up."""
    wanted = sorted({text for text in texts if len(text) > 1}, key=len, reverse=True)
    return re.compile("|".join(re.escape(text) for text in wanted)) if wanted else None


def disarm(content: str, special_texts: re.Pattern[str] | None) -> str:
    """Break up texts that the tokenizer would read as control tokens, so that content can't forge a turn."""
    if special_texts is None:
        return content
    return special_texts.sub(lambda match: match[0][0] + _WORD_JOINER + match[0][1:], content)


class ChatTemplate:
    """One compiled template. Raises ModelInvalid when the model's template is no template."""

    def __init__(self, source: str | None, *, bos: str, eos: str, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._specials = {"bos_token": bos, "eos_token": eos}
        self._time_limit_s = time_limit_s
        environment = Sandbox()
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        text = CHATML if source is None else source
        if len(text) > MAX_TEMPLATE_CHARS:
            raise ModelInvalid("The model's chat template is too large to be real; choose another model.")
        try:
            with limits(time_limit_s):
                self._template = environment.from_string(text)
        except (jinja2.TemplateError, RecursionError, MemoryError, ValueError, TooSlow):
            raise ModelInvalid("The model's chat template can't be read; choose another model.") from None
        # None: tools, calls and results are not shown to the model, or in a form that nobody could read back
        self.style = self._probe()

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The prompt, ready for the answer. Raises RequestInvalid when the template refuses the conversation.

        Where the template knows no tools, they are described in words and their results are turns of the user.
        """
        if self.style is None:
            messages, tools = described(messages, tools), ()
        try:
            return self._render(messages, tools)
        except RequestInvalid:
            folded = _fold_system(messages)
            if folded is None:
                raise
            return self._render(folded, tools)  # some templates know no system role

    def _probe(self) -> CallStyle | None:
        """How the template writes a call, seen by letting it write one; None when it drops it or the way is unknown."""
        try:
            text = self._render(
                _PROBE, (_PROBE_TOOL,), time_limit_s=min(PROBE_TIME_LIMIT_S, self._time_limit_s)
            )
        except RequestInvalid:
            return None
        if _PROBE_TOOL.description not in text or _PROBE_RESULT not in text:
            return None
        return next((style for style in CallStyle if style.format.shows(_PROBE_CALL.name, text)), None)

    def _render(
        self, messages: Sequence[Message], tools: Sequence[Tool], *, time_limit_s: float | None = None
    ) -> str:
        turns, offered = turns_for_template(messages, tools)
        parts: list[str] = []
        size = 0
        try:
            with limits(self._time_limit_s if time_limit_s is None else time_limit_s):
                for part in self._template.generate(
                    messages=turns, add_generation_prompt=True, tools=offered, **self._specials
                ):
                    parts.append(part)
                    size += len(part)
                    if size > MAX_OUTPUT_CHARS:
                        raise RequestInvalid(
                            "The model's chat template made a prompt without end; choose another model."
                        )
        except TooSlow:
            raise RequestInvalid("The model's chat template took too long; choose another model.") from None
        except _Refused as refusal:
            reason = (refusal.message or "no reason")[:200].rstrip(".")
            raise RequestInvalid(f"The model's chat template refuses this conversation: {reason}.") from None
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            kind = type(error).__name__
            raise RequestInvalid(
                f"The model's chat template failed ({kind}); choose another model."
            ) from None
        except (RecursionError, MemoryError, OverflowError):
            raise RequestInvalid("The model's chat template ran wild; choose another model.") from None
        return "".join(parts)


def _fold_system(messages: Sequence[Message]) -> list[Message] | None:
    """Put the system text in front of the first user turn; None when there is nothing to fold."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    others = [message for message in messages if message.role != "system"]
    if not system or not others or others[0].role != "user":
        return None
    first = Message(role="user", content=f"{system}\n\n{others[0].content}")
    return [first, *others[1:]]
