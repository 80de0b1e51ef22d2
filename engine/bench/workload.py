"""What is asked of every contender: the same requests, deterministic, each with a beginning of its own.

A beginning of its own means that nobody finds the prompt in a cache, unless the row is about that.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.core import JsonSchema, Message, PinnedPrefix, Priority, Request, SamplingParams

CountTokens = Callable[[Sequence[str]], Awaitable[list[int]]]

_WHO = ("The keeper", "A baker", "The old teacher", "Her neighbour", "The engineer", "A traveller")
_DID = ("measured", "described", "repaired", "sold", "painted", "collected", "counted", "carried")
_WHAT = ("a brass lamp", "two maps", "the north gate", "seven letters", "a wooden boat", "the winter stores")
_WHEN = ("before the storm", "on market day", "at first light", "after the meeting", "late in autumn")


class SetHeating(BaseModel):
    """The arguments of the tool that the model is to call."""

    model_config = ConfigDict(extra="forbid", strict=True)

    room: Literal["kitchen", "living room", "bedroom", "bathroom", "office", "hall"]
    mode: Literal["comfort", "economy", "frost protection", "off"]
    target_celsius: int
    notify_residents: bool
    until: Literal["morning", "noon", "evening", "midnight"]


class ToolCallAnswer(BaseModel):
    """The call itself, as an agent's loop takes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tool: Literal["set_heating_of_room"]
    arguments: SetHeating


def tool_call_schema() -> dict[str, Any]:
    """The JSON schema of ToolCallAnswer, written out: without references and titles that only cost a reader time."""
    room, mode, until = (
        {"type": "string", "enum": list(SetHeating.model_fields[name].annotation.__args__)}  # type: ignore[union-attr]
        for name in ("room", "mode", "until")
    )
    arguments: dict[str, Any] = {
        "room": room,
        "mode": mode,
        "target_celsius": {"type": "integer", "minimum": 5, "maximum": 30},
        "notify_residents": {"type": "boolean"},
        "until": until,
    }
    return {
        "type": "object",
        "properties": {
            "tool": {"type": "string", "const": "set_heating_of_room"},
            "arguments": {
                "type": "object",
                "properties": arguments,
                "required": list(arguments),
                "additionalProperties": False,
            },
        },
        "required": ["tool", "arguments"],
        "additionalProperties": False,
    }


def is_valid_call(text: str) -> bool:
    """Whether an answer is exactly one call that fits the schema."""
    try:
        call = ToolCallAnswer.model_validate_json(text)
    except ValidationError:
        return False
    return 5 <= call.arguments.target_celsius <= 30


class Workload:
    """Makes requests. Two workloads with the same seed make the same ones."""

    def __init__(self, count_tokens: CountTokens, *, seed: int = 1) -> None:
        self._count_tokens = count_tokens
        self._random = random.Random(seed)
        self._ids = itertools.count(1)
        self._words_per_token = 0.0

    def story(self, max_tokens: int, *, priority: Priority = Priority.NORMAL) -> Request:
        """A beginning that the model goes on with until max_tokens: a raw prompt of about twenty tokens."""
        number = next(self._ids)
        return self._request(
            prompt=f"{number}. {self._sentence()} It was a long story, and this is how it went:",
            max_tokens=max_tokens,
            priority=priority,
        )

    def question(self) -> Request:
        """What a person types, waiting in front of the screen."""
        number = next(self._ids)
        text = (
            f"Note {number}: {self._sentence()} Tell me in a few words what happened, and why it may matter."
        )
        return self._request(
            messages=(Message(role="user", content=text),), max_tokens=16, priority=Priority.INTERACTIVE
        )

    async def document(self, n_tokens: int, max_tokens: int) -> Request:
        """A background agent's prompt of about n_tokens tokens."""
        text = await self._text(n_tokens)
        return self._request(prompt=text, max_tokens=max_tokens, priority=Priority.BACKGROUND)

    async def agent(self, n_tokens: int) -> tuple[Request, Request]:
        """Two questions to one agent whose fixed prefix has about n_tokens tokens."""
        rules = await self._text(n_tokens)
        name = f"bench-{next(self._ids)}"

        def ask(text: str) -> Request:
            return self._request(
                messages=(Message(role="system", content=rules), Message(role="user", content=text)),
                prefix=PinnedPrefix(name=name, n_messages=1),
                max_tokens=8,
                priority=Priority.INTERACTIVE,
            )

        return ask("Who repaired something?"), ask("Which thing was carried on market day?")

    def tool_call(self) -> Request:
        """An agent's step that must be one tool call; its fixed beginning is the same each time."""
        system = (
            "You control the heating. Answer with one call of set_heating_of_room as JSON: room, mode, "
            "target_celsius, notify_residents, until."
        )
        wish = self._random.choice(("a little warmer", "cooler", "off", "as warm as possible", "frost-free"))
        room = self._random.choice(("kitchen", "bedroom", "office", "hall"))
        return self._request(
            messages=(
                Message(role="system", content=system),
                Message(
                    role="user", content=f"{next(self._ids)}: I want the {room} {wish} until the evening."
                ),
            ),
            constraint=JsonSchema(schema=tool_call_schema()),
            max_tokens=120,
        )

    def repetitive(self, max_tokens: int) -> Request:
        """A text that is to be copied: what guessing ahead from the prompt is good at."""
        lines = " ".join(self._sentence() for _ in range(6))
        text = f"{next(self._ids)}. Copy this text word by word, and write nothing else:\n{lines}"
        return self._request(messages=(Message(role="user", content=text),), max_tokens=max_tokens)

    async def passages(self, n_passages: int, n_tokens: int) -> list[str]:
        """Passages of about n_tokens tokens to be turned into vectors."""
        return [await self._text(n_tokens) for _ in range(n_passages)]

    def _request(
        self,
        *,
        max_tokens: int,
        messages: tuple[Message, ...] = (),
        prompt: str | None = None,
        constraint: JsonSchema | None = None,
        priority: Priority = Priority.NORMAL,
        prefix: PinnedPrefix | None = None,
    ) -> Request:
        return Request(
            id=f"bench-{next(self._ids)}",
            messages=messages,
            prompt=prompt,
            constraint=constraint,
            priority=priority,
            prefix=prefix,
            sampling=SamplingParams(max_tokens=max_tokens, temperature=0.0),
        )

    def _sentence(self) -> str:
        pick = self._random.choice
        return f"{pick(_WHO)} {pick(_DID)} {pick(_WHAT)} {pick(_WHEN)}."

    async def _text(self, n_tokens: int) -> str:
        """Sentences of n_tokens tokens, within a few."""
        if not self._words_per_token:
            sample = " ".join(self._sentence() for _ in range(50))
            self._words_per_token = len(sample.split()) / (await self._count_tokens([sample]))[0]
        n_words = max(1, round(n_tokens * self._words_per_token))
        words = f"{next(self._ids)}.".split()
        while len(words) < n_words:
            words += self._sentence().split()
        return " ".join(words[:n_words])
