"""The nouns of the engine: requests, stream events, states and model specifications; no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

from engine.errors import RequestInvalid

DEFAULT_N_CTX = 8192
MAX_PROMPT_CHARS = 4_000_000
MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 256
ROLES = ("system", "user", "assistant")


class Priority(IntEnum):
    """Who goes first; smaller values are served earlier."""

    INTERACTIVE = 0  # a person is waiting in front of the screen
    NORMAL = 1
    BACKGROUND = 2  # scheduled work that nobody watches


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation. Its repr never shows the content."""

    role: str
    content: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise RequestInvalid(f"The role {self.role!r} is unknown; use system, user or assistant.")
        try:
            self.content.encode("utf-8")
        except UnicodeEncodeError:
            raise RequestInvalid(
                "A message holds half of a surrogate pair; send text that is valid Unicode."
            ) from None


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not low <= value <= high:  # NaN fails every comparison and lands here too
        raise RequestInvalid(f"{name} is {value}; it must be from {low:g} to {high:g}.")


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. Temperature 0 is greedy; seed None takes a fresh random seed."""

    max_tokens: int = 512
    temperature: float = 0.7
    top_k: int = 40  # 0 is off
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0  # 1.0 is off
    seed: int | None = None
    stop: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_range("max_tokens", self.max_tokens, 1, 1_000_000)
        _check_range("temperature", self.temperature, 0.0, 5.0)
        _check_range("top_k", self.top_k, 0, 1_000_000)
        _check_range("top_p", self.top_p, 0.0, 1.0)
        _check_range("min_p", self.min_p, 0.0, 1.0)
        _check_range("repeat_penalty", self.repeat_penalty, 0.1, 10.0)
        if self.seed is not None:
            _check_range("seed", self.seed, 0, 2**32 - 2)  # 2**32 - 1 means "random" in llama.cpp
        if len(self.stop) > MAX_STOP_STRINGS:
            raise RequestInvalid(f"There are {len(self.stop)} stop strings; use {MAX_STOP_STRINGS} at most.")
        if any(not 1 <= len(text) <= MAX_STOP_CHARS for text in self.stop):
            raise RequestInvalid(f"A stop string must have 1 to {MAX_STOP_CHARS} characters.")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to the model. With a JSON schema the answer is compact JSON that fits it."""

    id: str
    messages: tuple[Message, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    json_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    priority: Priority = Priority.NORMAL

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= 200:
            raise RequestInvalid("A request id must have 1 to 200 characters.")
        if not self.messages:
            raise RequestInvalid("The request has no messages; send at least one.")
        if sum(len(message.content) for message in self.messages) > MAX_PROMPT_CHARS:
            raise RequestInvalid(
                f"The messages have more than {MAX_PROMPT_CHARS:,} characters; split the text."
            )
        self._check_schema()

    def _check_schema(self) -> None:
        if self.json_schema is None:
            return
        try:
            json.dumps(dict(self.json_schema), ensure_ascii=False, allow_nan=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError):
            raise RequestInvalid("The JSON schema is not plain JSON; write it as a JSON object.") from None
        if self.sampling.stop:
            raise RequestInvalid("Stop strings would cut the JSON; use a schema or stop strings, not both.")


class FinishReason(StrEnum):
    """Why a stream ended in order."""

    STOP = "stop"  # the model ended its turn, a stop string came, or the schema is complete
    LENGTH = "length"  # max_tokens or the context is used up; under a schema the JSON may be cut
    CANCELLED = "cancelled"  # the reader went away


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one request cost. prompt_tokens counts the whole prompt, also the part that was still cached."""

    prompt_tokens: int
    completion_tokens: int
    prefill_s: float
    decode_s: float

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
class Delta:
    """New text; always whole code points. tokens is how many tokens it took."""

    text: str = field(repr=False)
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """The engine child ended: the text so far is void and the request is being repeated (at most once)."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The last event of a stream; text is the whole answer."""

    text: str = field(repr=False)
    finish_reason: FinishReason
    usage: Usage


StreamEvent = Prefill | Delta | Restarted | Finished


class EngineState(StrEnum):
    """Where the engine child is in its life."""

    STOPPED = "stopped"  # no child; one is started by the next request
    STARTING = "starting"  # the child is being spawned, or loads the model
    SELF_TEST = "self_test"  # first start on this computer: a trial decode finds settings that do not crash
    READY = "ready"  # loaded and idle
    BUSY = "busy"  # a request is being served
    RESTARTING = "restarting"  # the child died; waiting out the back-off before the next start
    SET_ASIDE = "set_aside"  # died too often: refuses work until retry_model()


ALLOWED_TRANSITIONS: Mapping[EngineState, frozenset[EngineState]] = {
    EngineState.STOPPED: frozenset({EngineState.STARTING, EngineState.RESTARTING}),
    EngineState.STARTING: frozenset(
        {
            EngineState.SELF_TEST,
            EngineState.READY,
            EngineState.RESTARTING,
            EngineState.SET_ASIDE,
            EngineState.STOPPED,
        }
    ),
    EngineState.SELF_TEST: frozenset({EngineState.READY, EngineState.SET_ASIDE, EngineState.STOPPED}),
    EngineState.READY: frozenset(
        {EngineState.BUSY, EngineState.RESTARTING, EngineState.SET_ASIDE, EngineState.STOPPED}
    ),
    EngineState.BUSY: frozenset(
        {EngineState.READY, EngineState.RESTARTING, EngineState.SET_ASIDE, EngineState.STOPPED}
    ),
    EngineState.RESTARTING: frozenset({EngineState.STARTING, EngineState.SET_ASIDE, EngineState.STOPPED}),
    EngineState.SET_ASIDE: frozenset({EngineState.STARTING, EngineState.STOPPED}),
}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which GGUF to load and how. None picks the default: n_ctx min(trained, 8192), one thread a core."""

    path: Path
    name: str
    n_ctx: int | None = None
    n_threads: int | None = None
    sha256: str | None = None  # of the file as it was published, in hex; None when nobody knows it

    def __post_init__(self) -> None:
        if self.n_ctx is not None:
            _check_range("n_ctx", self.n_ctx, 64, 16_777_216)
        if self.n_threads is not None:
            _check_range("n_threads", self.n_threads, 1, 1024)


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """A snapshot for people: the state, what runs, and what they should know."""

    state: EngineState
    model_name: str | None = None
    model_path: str | None = None
    n_ctx: int | None = None
    pid: int | None = None
    notice: str | None = None  # one sentence for the user, such as that safe settings are in use
    deaths: int = 0  # unexpected ends of the child since this supervisor was made
    tokens_per_s: float | None = None  # of the last finished request
    safe_mode: str | None = None  # the name of the safe setting in use
    reason: str | None = None  # why the model is set aside, or why the last start failed
