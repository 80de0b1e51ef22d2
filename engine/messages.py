"""What the runtime and the engine child say to each other: one small dataclass for each message, as JSON frames.

A frame is a 4-byte big-endian length and that many bytes of JSON. Both ends check sizes and types: the child runs
code over files from strangers, so the runtime does not trust its words either.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from engine.core import FinishReason, Message, SamplingParams, Usage
from engine.safe_settings import LoadSettings

PROTOCOL = 1
MAX_FRAME_BYTES = (
    64 * 1024 * 1024
)  # the largest prompt that core.Request admits, with every character escaped
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other end broke the protocol; there is no way to go on with it."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Load the model; with self_test also try a prompt batch and some tokens before answering."""

    kind: Literal["load"] = "load"
    path: str
    n_ctx: int | None
    n_threads: int | None
    settings: LoadSettings
    self_test: bool


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Serve a request; the runtime sends one at a time."""

    kind: Literal["submit"] = "submit"
    id: str
    messages: tuple[Message, ...] = field(repr=False)
    sampling: SamplingParams
    json_schema: Mapping[str, Any] | None = field(repr=False)


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
class Hello:
    """The child's first words."""

    kind: Literal["hello"] = "hello"
    protocol: int
    pid: int
    build: str  # names the build of llama.cpp and what it sees of the processor


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The model is ready; facts as llama.cpp reports them."""

    kind: Literal["loaded"] = "loaded"
    description: str
    n_ctx: int
    n_ctx_train: int
    n_vocab: int
    n_params: int
    size_bytes: int
    n_threads: int
    has_chat_template: bool


@dataclass(frozen=True, kw_only=True)
class LoadFailed:
    """The model can't be used; self_test tells that safer settings may help."""

    kind: Literal["load_failed"] = "load_failed"
    message: str
    self_test: bool


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
    """New text of an answer."""

    kind: Literal["text"] = "text"
    id: str
    text: str = field(repr=False)
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """A request ended in order."""

    kind: Literal["done"] = "done"
    id: str
    finish_reason: FinishReason
    usage: Usage


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
    """The answer to Count."""

    kind: Literal["counted"] = "counted"
    id: str
    counts: tuple[int, ...]


ToChild = Load | Submit | Abort | Count
FromChild = Hello | Loaded | LoadFailed | Alive | Progress | Text | Done | Failed | Counted

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
