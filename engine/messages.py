"""What the runtime and the engine child say to each other: one small dataclass for each message, as JSON frames.

A frame is a 4-byte big-endian length and that many bytes of JSON. Both ends check sizes and types: the child runs
code over files from strangers, so the runtime does not trust its words either.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine.core import FinishReason, Priority, Request, TokenLogprob, ToolCall, Usage
from engine.model import CacheSpec, KvType, PowerLimits
from engine.plans import LoadPlan
from engine.safe_settings import LoadSettings
from engine.status import EngineCounters

PROTOCOL = 2
MAX_FRAME_BYTES = (
    64 * 1024 * 1024
)  # the largest prompt that core.Request admits, with every character escaped
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other end broke the protocol; there is no way to go on with it."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load the model by this plan; with self_test also try a prompt batch and some tokens before answering."""

    kind: Literal["load"] = "load"
    path: str
    plan: LoadPlan
    settings: LoadSettings
    n_slots: int
    n_threads: int | None
    draft_path: str | None
    speculate: bool
    cache: CacheSpec
    self_test: bool
    memory_limit_bytes: int | None = None  # of the computer's own memory: more would make it swap


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Serve a request beside the others; Progress, Texts and ToolCalls follow, and one Done or Failed."""

    kind: Literal["submit"] = "submit"
    request: Request


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Stop working on a request; it is answered with Done (cancelled), also when that came first."""

    kind: Literal["abort"] = "abort"
    id: str


@dataclass(frozen=True, kw_only=True)
class Count:
    """Count the tokens of texts; answered between two batches."""

    kind: Literal["count"] = "count"
    id: str
    texts: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class CountPrompt:
    """Count the tokens of a request's prompt as the model would read it, and serve nothing."""

    kind: Literal["count_prompt"] = "count_prompt"
    id: str
    request: Request


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Turn texts into vectors; an Abort stops it like a request."""

    kind: Literal["embed"] = "embed"
    id: str
    texts: tuple[str, ...] = field(repr=False)
    priority: Priority


@dataclass(frozen=True, kw_only=True)
class ForgetPrefix:
    """Drop a pinned prefix from every tier, because its source is gone; answered with Forgotten."""

    kind: Literal["forget_prefix"] = "forget_prefix"
    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class SetLimits:
    """What the surroundings allow from now on; takes effect with the next batch."""

    kind: Literal["set_limits"] = "set_limits"
    limits: PowerLimits


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The child's first words."""

    kind: Literal["hello"] = "hello"
    protocol: int
    pid: int
    build: str  # names the build of llama.cpp and what it sees of the processor
    devices: tuple[str, ...] = ()  # accelerators, as llama.cpp names them; empty on a processor alone


@dataclass(frozen=True, kw_only=True)
class LoadProgress:
    """So much of the file is loaded, 0 to 1."""

    kind: Literal["load_progress"] = "load_progress"
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The model is ready; facts as llama.cpp reports them."""

    kind: Literal["loaded"] = "loaded"
    description: str
    n_ctx: int
    n_ctx_train: int
    n_vocab: int
    n_params: int
    n_layers: int
    size_bytes: int
    memory_bytes: int  # weights, KV cache and buffers
    kv_bytes: int = 0  # of that, the KV cache
    n_threads: int
    n_slots: int
    n_gpu_layers: int
    kv_type: KvType
    flash_attention: bool
    has_chat_template: bool
    embedding: bool = False  # an embedding model: takes Embed and no Submit
    n_embd: int = 0  # length of its vectors
    batch_stable: bool = False  # the self-test got the same logits alone and in company
    load_s: float = 0.0


class LoadFault(StrEnum):
    """Why a load failed, as far as it decides what is tried next."""

    INVALID = "invalid"  # no plan and no settings will help
    NO_ROOM = "no_room"  # a smaller plan may fit
    SELF_TEST = "self_test"  # safer settings may help


@dataclass(frozen=True, kw_only=True)
class LoadFailed:
    """The model can't be used so."""

    kind: Literal["load_failed"] = "load_failed"
    message: str
    fault: LoadFault


@dataclass(frozen=True, kw_only=True)
class Alive:
    """A sign of life during long work."""

    kind: Literal["alive"] = "alive"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """So much of the prompt is computed."""

    kind: Literal["progress"] = "progress"
    id: str
    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, kw_only=True)
class Text:
    """New text of one answer."""

    id: str
    text: str = field(repr=False)
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What one batch brought, for all the answers in it: one frame a batch, however many there are."""

    kind: Literal["texts"] = "texts"
    items: tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class CalledTool:
    """A tool call is complete."""

    kind: Literal["called_tool"] = "called_tool"
    id: str
    call: ToolCall


@dataclass(frozen=True, kw_only=True)
class Done:
    """A request ended in order."""

    kind: Literal["done"] = "done"
    id: str
    finish_reason: FinishReason
    usage: Usage
    stop: str | None = None  # the stop string that ended it


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A request can't be served; the child goes on."""

    kind: Literal["failed"] = "failed"
    id: str
    code: str
    message: str
    details: Mapping[str, int | str]


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The answer to Count, and to CountPrompt with one number."""

    kind: Literal["counted"] = "counted"
    id: str
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The answer to Embed: one vector of unit length a text, as float32 little-endian in base64."""

    kind: Literal["embedded"] = "embedded"
    id: str
    vectors: tuple[str, ...] = field(repr=False)
    tokens: int  # of all texts together


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """The answer to ForgetPrefix."""

    kind: Literal["forgotten"] = "forgotten"
    id: str


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What was counted so far; sent at most each half second of work, and when the work ends."""

    kind: Literal["counters"] = "counters"
    counters: EngineCounters


def is_awaited(message: object) -> bool:
    """Whether it brings work that is more than background work."""
    match message:
        case Submit(request=Request(priority=priority)) | Embed(priority=priority):
            return priority is not Priority.BACKGROUND
        case _:
            return False


ToChild = Load | Submit | Abort | Count | CountPrompt | Embed | ForgetPrefix | SetLimits
FromChild = (
    Hello
    | LoadProgress
    | Loaded
    | LoadFailed
    | Alive
    | Progress
    | Texts
    | CalledTool
    | Done
    | Failed
    | Counted
    | Embedded
    | Forgotten
    | Counters
)

_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="kind")])
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])


def _frame(body: bytes) -> bytes:
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a message of {len(body):,} bytes is too large to send")
    return _LENGTH.pack(len(body)) + body


def frame_to_child(message: ToChild) -> bytes:
    """A message from the runtime, ready for the pipe."""
    return _frame(_TO_CHILD.dump_json(message))


def frame_from_child(message: FromChild) -> bytes:
    """A message from the child, ready for the pipe."""
    return _frame(_FROM_CHILD.dump_json(message))


HEADER_BYTES = _LENGTH.size


def body_size(header: bytes) -> int:
    """The length that a frame's header announces. Raises ProtocolError when it is out of bounds."""
    size: int = _LENGTH.unpack(header)[0]
    if not 0 < size <= MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame announces {size:,} bytes")
    return size


def parse_to_child(body: bytes) -> ToChild:
    """Read a message in the child. Raises ProtocolError."""
    try:
        return _TO_CHILD.validate_json(body, strict=True)
    except ValueError as error:
        raise ProtocolError(f"a message to the child has {_fault(error)}") from None


def parse_from_child(body: bytes) -> FromChild:
    """Read a message in the runtime. Raises ProtocolError."""
    try:
        return _FROM_CHILD.validate_json(body, strict=True)
    except ValueError as error:
        raise ProtocolError(f"a message from the child has {_fault(error)}") from None


def _fault(error: ValueError) -> str:
    """The kind of the mistake, without the values: those may hold the user's text."""
    details = getattr(error, "errors", list)
    kinds = {str(item.get("type", "error")) for item in details()} if callable(details) else set()
    return ", ".join(sorted(kinds)) or "an error"
