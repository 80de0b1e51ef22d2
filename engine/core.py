"""The nouns of the engine: requests, what constrains an answer, and the events of its stream; no I/O."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, Literal

from engine.errors import RequestInvalid

MAX_PROMPT_CHARS = 4_000_000
MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 256
MAX_TOP_LOGPROBS = 20
MAX_LOGIT_BIASES = 1024
MAX_TOOLS = 128
MAX_CHOICES = 1024
MAX_NAME_CHARS = 200
MAX_EMBEDDING_TEXTS = 2048
MAX_JSON_DEPTH = 64  # the wire takes 255 and llguidance 128, around what is sent
ROLES = ("system", "user", "assistant", "tool")


class Priority(IntEnum):
    """Who goes first; smaller values are served earlier."""

    INTERACTIVE = 0  # a person is waiting in front of the screen
    NORMAL = 1
    BACKGROUND = 2  # scheduled work that nobody watches


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises RequestInvalid unless low <= value <= high."""
    if isinstance(value, bool) or not low <= value <= high:  # NaN fails every comparison and lands here too
        raise RequestInvalid(f"{name} is {value}; it must be from {low:g} to {high:g}.")


def _check_text(what: str, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestInvalid(
            f"{what} holds half of a surrogate pair; send text that is valid Unicode."
        ) from None


def _check_name(what: str, name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise RequestInvalid(f"{what} must have 1 to {MAX_NAME_CHARS} characters.")
    _check_text(what, name)


def is_nested_deeper(value: object, depth: int) -> bool:
    """Whether plain JSON has more than so many objects and arrays inside each other; never recurses."""
    level: list[Any] = [value]
    for _ in range(depth + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, Mapping | list | tuple)
            for item in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        if not level:
            return False
    return True


def _check_json(what: str, value: Mapping[str, Any]) -> None:
    if is_nested_deeper(value, MAX_JSON_DEPTH):
        raise RequestInvalid(f"{what} is nested more than {MAX_JSON_DEPTH} levels deep; make it flatter.")
    try:
        json.dumps(dict(value), ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise RequestInvalid(f"{what} is not plain JSON; write it as a JSON object.") from None


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """The model asks for a tool; arguments is a JSON object as text, as the model wrote it."""

    id: str
    name: str
    arguments: str = field(repr=False)

    def __post_init__(self) -> None:
        _check_name("A tool call's id", self.id)
        _check_name("A tool's name", self.name)
        _check_text("A tool call", self.arguments)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation. Its repr never shows the content.

    An assistant's turn may hold tool calls; a turn of the role "tool" is the result of the call with tool_call_id.
    """

    role: str
    content: str = field(repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise RequestInvalid(f"The role {self.role!r} is unknown; use system, user, assistant or tool.")
        if self.tool_calls and self.role != "assistant":
            raise RequestInvalid("Only a message of the role assistant can hold tool calls.")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise RequestInvalid("A message of the role tool, and no other, names the call that it answers.")
        _check_text("A message", self.content)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function that the model may call; parameters is the JSON schema of its arguments."""

    name: str
    description: str = field(default="", repr=False)
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"}, repr=False)

    def __post_init__(self) -> None:
        _check_name("A tool's name", self.name)
        _check_text("A tool's description", self.description)
        _check_json("A tool's parameters", self.parameters)


class ToolChoice(StrEnum):
    """Whether the model calls a tool."""

    AUTO = "auto"  # it decides: free text, tool calls, or both
    NONE = "none"  # it knows the tools and calls none
    REQUIRED = "required"  # at least one call and no free text


@dataclass(frozen=True, kw_only=True)
class JsonSchema:
    """The answer is compact JSON that fits the schema."""

    kind: Literal["json_schema"] = "json_schema"
    schema: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        _check_json("The JSON schema", self.schema)


@dataclass(frozen=True, kw_only=True)
class Regex:
    """The whole answer matches the regular expression (Rust's syntax: no look-around, no back-references)."""

    kind: Literal["regex"] = "regex"
    pattern: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Lark:
    """The answer is a sentence of the grammar, in llguidance's dialect of Lark."""

    kind: Literal["lark"] = "lark"
    grammar: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer is one of the options, letter for letter."""

    kind: Literal["choice"] = "choice"
    options: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.options) <= MAX_CHOICES or not all(self.options):
            raise RequestInvalid(f"A choice needs 1 to {MAX_CHOICES} options, none of them empty.")


Constraint = JsonSchema | Regex | Lark | Choice


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. Temperature 0 is greedy; seed None takes a fresh random seed."""

    max_tokens: int = 512
    temperature: float = 0.7
    top_k: int = 40  # 0 is off
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0  # 1.0 is off
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # token -> added to its logit; -100 forbids
    top_logprobs: int | None = None  # None: no log-probabilities; n: of the chosen token and the n likeliest
    seed: int | None = None
    stop: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_range("max_tokens", self.max_tokens, 1, 1_000_000)
        check_range("temperature", self.temperature, 0.0, 5.0)
        check_range("top_k", self.top_k, 0, 1_000_000)
        check_range("top_p", self.top_p, 0.0, 1.0)
        check_range("min_p", self.min_p, 0.0, 1.0)
        check_range("repeat_penalty", self.repeat_penalty, 0.1, 10.0)
        check_range("presence_penalty", self.presence_penalty, -2.0, 2.0)
        check_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        if len(self.logit_bias) > MAX_LOGIT_BIASES:
            raise RequestInvalid(f"logit_bias names more than {MAX_LOGIT_BIASES} tokens; name fewer.")
        for token, bias in self.logit_bias.items():
            check_range("A token of logit_bias", token, 0, 2**31 - 1)
            check_range("A value of logit_bias", bias, -100.0, 100.0)
        if self.top_logprobs is not None:
            check_range("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS)
        if self.seed is not None:
            check_range("seed", self.seed, 0, 2**32 - 2)  # 2**32 - 1 means "random" in llama.cpp
        if len(self.stop) > MAX_STOP_STRINGS:
            raise RequestInvalid(f"There are {len(self.stop)} stop strings; use {MAX_STOP_STRINGS} at most.")
        if any(not 1 <= len(text) <= MAX_STOP_CHARS for text in self.stop):
            raise RequestInvalid(f"A stop string must have 1 to {MAX_STOP_CHARS} characters.")


@dataclass(frozen=True, kw_only=True)
class PinnedPrefix:
    """The first n_messages of a request (and its tools) are computed once and kept under this name, also on disk.

    The same name with another text replaces what was kept.
    """

    name: str
    n_messages: int = 1

    def __post_init__(self) -> None:
        _check_name("A prefix's name", self.name)
        check_range("n_messages", self.n_messages, 1, 1000)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to the model: a conversation, or a raw prompt to be continued (control texts in it count)."""

    id: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = field(default=None, repr=False)
    sampling: SamplingParams = field(default_factory=SamplingParams)
    constraint: Constraint | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO
    tool_name: str | None = None  # with REQUIRED: only this tool
    parallel_tool_calls: bool = True
    priority: Priority = Priority.NORMAL
    prefix: PinnedPrefix | None = None
    speculate: bool = True  # guess ahead where it pays; off when the answer must be repeatable to the letter

    def __post_init__(self) -> None:
        _check_name("A request id", self.id)
        if bool(self.messages) == (self.prompt is not None):
            raise RequestInvalid("The request has no messages; send at least one message, or a raw prompt.")
        self._check_size()
        self._check_tools()
        if self.constraint is not None and self.sampling.stop:
            raise RequestInvalid("Stop strings would cut the answer; use a schema or stop strings, not both.")
        if self.prefix is not None and self.prefix.n_messages > len(self.messages):
            raise RequestInvalid("The pinned prefix has more messages than the request.")

    @property
    def n_chars(self) -> int:
        """Characters of the whole prompt, before the chat template adds its own."""
        turns = sum(
            len(turn.content) + sum(len(call.arguments) for call in turn.tool_calls) for turn in self.messages
        )
        tools = sum(len(tool.description) + len(json.dumps(dict(tool.parameters))) for tool in self.tools)
        return turns + tools + len(self.prompt or "")

    def without_prefix(self, name: str) -> Request:
        """The same request, which does not pin this name."""
        pins_it = self.prefix is not None and self.prefix.name == name
        return replace(self, prefix=None) if pins_it else self

    def _check_size(self) -> None:
        if self.prompt is not None:
            _check_text("The prompt", self.prompt)
        if self.n_chars > MAX_PROMPT_CHARS:
            raise RequestInvalid(
                f"The messages have more than {MAX_PROMPT_CHARS:,} characters; split the text."
            )

    def _check_tools(self) -> None:
        names = [tool.name for tool in self.tools]
        if len(names) > MAX_TOOLS:
            raise RequestInvalid(f"There are {len(names)} tools; offer {MAX_TOOLS} at most.")
        if len(set(names)) != len(names):
            raise RequestInvalid("Two tools have the same name; rename one.")
        if self.tools and self.prompt is not None:
            raise RequestInvalid("Tools need a conversation; a raw prompt can't offer them.")
        if self.tool_name is not None and self.tool_name not in names:
            raise RequestInvalid("The tool that must be called is not among the tools.")
        wants_call = self.tool_choice is ToolChoice.REQUIRED
        if wants_call and not self.tools:
            raise RequestInvalid("A tool call is required and there are no tools; offer at least one.")
        if self.tool_name is not None and not wants_call:
            raise RequestInvalid("A named tool needs the tool choice 'required'.")
        if self.constraint is not None and self.tools and self.tool_choice is not ToolChoice.NONE:
            raise RequestInvalid("An answer can't be held to a schema and call tools; use one of the two.")


class FinishReason(StrEnum):
    """Why a stream ended in order."""

    STOP = "stop"  # the model ended its turn, a stop string came, or the constraint is fulfilled
    LENGTH = "length"  # max_tokens or the context is used up; a constrained answer may be cut
    TOOL_CALLS = "tool_calls"  # the model waits for the results of its calls
    CANCELLED = "cancelled"  # the reader went away


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one request cost. prompt_tokens counts the whole prompt, also the cached_tokens that needed no computing."""

    prompt_tokens: int
    completion_tokens: int
    prefill_s: float
    decode_s: float
    cached_tokens: int = 0
    waited_s: float = 0.0  # before the first batch, behind others
    drafted_tokens: int = 0  # guessed ahead by speculation
    accepted_tokens: int = 0  # of those, the ones that the model would have chosen too

    @property
    def tokens_per_s(self) -> float:
        """Tokens written a second of model time, reading the prompt included; 0.0 when there was none.

        Decode time alone would flatter: tokens that a schema leaves no choice about are appended without decoding.
        """
        model_s = self.prefill_s + self.decode_s
        return self.completion_tokens / model_s if model_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """The prompt is being read."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A token that could stand in a place; data is its bytes, which may be part of a code point."""

    token: int
    data: str = field(repr=False)  # base64
    logprob: float


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """The chosen token with its natural-log probability, and the likeliest tokens in its place, best first."""

    chosen: Alternative
    top: tuple[Alternative, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Delta:
    """New text; always whole code points. tokens is how many tokens it took."""

    text: str = field(repr=False)
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class ToolCalled:
    """A tool call is complete; its text is not in the deltas."""

    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """The engine child ended: the text so far is void and the request is being repeated (at most once)."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The last event of a stream; text is the whole answer, without its tool calls."""

    text: str = field(repr=False)
    finish_reason: FinishReason
    usage: Usage
    tool_calls: tuple[ToolCall, ...] = ()
    stop: str | None = None  # the stop string that ended it, and is no part of the text


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """One vector of unit length (float32) for each text, in their order; tokens counts all texts together."""

    vectors: tuple[array[float], ...] = field(repr=False)
    tokens: int


StreamEvent = Prefill | Delta | ToolCalled | Restarted | Finished
