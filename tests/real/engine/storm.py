"""Many clients at once with all kinds of requests, and what must hold for each answer whatever the others ask.

Each question has a mark of its own, a word that no model writes by chance: an answer with the mark of another question
has seen a state that is not its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import random
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

import jsonschema

from engine.core import (
    Choice,
    Delta,
    Finished,
    FinishReason,
    JsonSchema,
    Message,
    PinnedPrefix,
    Priority,
    Regex,
    Request,
    SamplingParams,
    StreamEvent,
    TokenLogprob,
    Tool,
    ToolCalled,
    ToolChoice,
)
from engine.supervisor import EngineSupervisor

LONGEST = 24  # tokens of a free answer
CONSTRAINED = 240  # tokens in which every constraint below can be fulfilled
CANCELLED = 0.2  # of the requests
# Natural log: where company rounds otherwise, one of two tokens this near may be taken for the other (measured: 0.43).
TIE = 0.75
DESKS = {
    name: f"You work at the {name} desk. "
    + f"The {name} desk writes down what it is told, word for word. " * 6
    for name in ("north", "south", "west")
}


class Kind(StrEnum):
    """What is asked for."""

    COPY = "copy"  # go on with a pattern
    TELL = "tell"  # the likeliest tokens
    PINNED = "pinned"  # the same behind a prefix with a name
    SEEDED = "seeded"
    STOP = "stop"
    SCHEMA = "schema"
    CHOICE = "choice"
    REGEX = "regex"
    CALL = "call"  # a tool must be called
    MAY_CALL = "may call"


GREEDY = {Kind.COPY, Kind.TELL, Kind.PINNED}
CUT = GREEDY | {Kind.SEEDED, Kind.STOP}  # may have any length


@dataclass(frozen=True, kw_only=True)
class Question:
    """A request that is made again and again."""

    kind: Kind
    mark: str
    request: Request

    def asked(self, rng: random.Random, number: int) -> Request:
        """The request as one of many: of any urgency, and of any length if it has no shape."""
        sampling = self.request.sampling
        if self.kind in CUT:
            sampling = replace(sampling, max_tokens=rng.randint(1, LONGEST))
        return replace(self.request, id=f"{number}", priority=rng.choice(tuple(Priority)), sampling=sampling)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came, and what it cost."""

    last: Finished
    logprobs: tuple[TokenLogprob, ...]
    calls: tuple[tuple[str, str], ...]  # name and arguments


def marks(rng: random.Random, n: int) -> list[str]:
    """Words without a vowel, none of which is in another."""
    made: set[str] = set()
    while len(made) < n:
        made.add("".join(rng.choices("bcdfghjklmnpqrstvwxz", k=6)))
    return sorted(made)


def record_schema(mark: str) -> dict[str, Any]:
    """An object that holds the mark."""
    properties = {
        "code": {"const": mark},
        "mood": {"enum": ["calm", "busy", "lost"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def question(kind: Kind, mark: str, number: int) -> Question:
    """A question of a kind."""
    likeliest = SamplingParams(temperature=0.0, max_tokens=LONGEST)
    enough = SamplingParams(temperature=0.7, seed=number, max_tokens=CONSTRAINED)
    told = Message(role="user", content=f"The code word is {mark}. Tell me what the sea is like.")
    fields: dict[str, Any] = {"messages": (told,), "sampling": enough}
    tool = Tool(name="note", description="Takes a note.", parameters=record_schema(mark))
    match kind:
        case Kind.COPY:
            fields = {"prompt": f"{mark} " * 8, "sampling": likeliest}
        case Kind.STOP:
            fields = {"prompt": f"{mark} " * 8, "sampling": replace(likeliest, stop=(mark, "\n"))}
        case Kind.TELL:
            fields["sampling"] = likeliest
        case Kind.SEEDED:
            fields["sampling"] = replace(enough, max_tokens=LONGEST)
        case Kind.PINNED:
            desk = sorted(DESKS)[number % len(DESKS)]
            fields["messages"] = (Message(role="system", content=DESKS[desk]), told)
            fields |= {"sampling": likeliest, "prefix": PinnedPrefix(name=desk)}
        case Kind.SCHEMA:
            fields["constraint"] = JsonSchema(schema=record_schema(mark))
        case Kind.CHOICE:
            fields["constraint"] = Choice(options=(f"{mark} is calm", f"{mark} is lost"))
        case Kind.REGEX:
            fields["constraint"] = Regex(pattern=rf"{mark}-[0-9]{{4}}")
        case Kind.CALL:
            fields |= {"tools": (tool,), "tool_choice": ToolChoice.REQUIRED, "parallel_tool_calls": False}
        case Kind.MAY_CALL:
            fields |= {"tools": (tool,), "sampling": replace(enough, max_tokens=LONGEST)}
    repeatable = fields["sampling"].seed is not None
    return Question(
        kind=kind, mark=mark, request=Request(id=f"q{number}", speculate=not repeatable, **fields)
    )


def questions(rng: random.Random, n: int) -> list[Question]:
    """All kinds in turn."""
    kinds = tuple(Kind)
    return [question(kinds[at % len(kinds)], mark, at) for at, mark in enumerate(marks(rng, n))]


async def follow(
    engine: EngineSupervisor, asked: Request, *, leave_after: int | None = None
) -> Answer | None:
    """The answer, or None if the caller went away after so many events."""
    events: list[StreamEvent] = []
    if leave_after == 0:  # nothing has come yet: the task that waits is cancelled
        waiting = asyncio.ensure_future(follow(engine, asked))
        await asyncio.sleep(0)
        waiting.cancel()
        results = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        return None
    async with aclosing(cast(AsyncGenerator[StreamEvent], engine.stream(asked))) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == leave_after and not isinstance(event, Finished):
                return None
    return read(events)


def read(events: Sequence[StreamEvent]) -> Answer:
    """One answer out of the events of its stream, which must agree with each other."""
    last = events[-1]
    assert isinstance(last, Finished)
    deltas = [event for event in events if isinstance(event, Delta)]
    called = tuple(event.call for event in events if isinstance(event, ToolCalled))
    assert "".join(delta.text for delta in deltas) == last.text
    assert sum(delta.tokens for delta in deltas) == last.usage.completion_tokens
    assert called == last.tool_calls
    return Answer(
        last=last,
        logprobs=tuple(entry for delta in deltas for entry in delta.logprobs),
        calls=tuple((call.name, call.arguments) for call in called),
    )


def check_shape(asked: Question, request: Request, answer: Answer, all_marks: Sequence[str]) -> None:
    """What holds for an answer of this kind in any company."""
    last, usage, mark = answer.last, answer.last.usage, asked.mark
    said = last.text + "".join(arguments for _, arguments in answer.calls)
    strange = [other for other in all_marks if other != mark and other in said]
    assert not strange, f"{asked.kind}: the answer holds the marks of others: {strange}"
    assert 1 <= usage.completion_tokens <= request.sampling.max_tokens
    # what a constraint forces at the beginning is computed behind the prompt, which may then be cached to its end
    n_computed = 0 if request.constraint is not None or request.tools else 1
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens - n_computed
    assert 0 <= usage.accepted_tokens <= usage.drafted_tokens
    match asked.kind:
        case Kind.SCHEMA:
            jsonschema.validate(json.loads(last.text), record_schema(mark))
        case Kind.CHOICE:
            assert last.text in {f"{mark} is calm", f"{mark} is lost"}
        case Kind.REGEX:
            assert re.fullmatch(rf"{mark}-[0-9]{{4}}", last.text)
        case Kind.CALL:
            assert last.finish_reason is FinishReason.TOOL_CALLS
            assert [name for name, _ in answer.calls] == ["note"]
        case Kind.STOP:
            assert mark not in last.text
            assert "\n" not in last.text
    for _, arguments in answer.calls:
        jsonschema.validate(json.loads(arguments), record_schema(mark))


def check_same(asked: Question, request: Request, answer: Answer, alone: Answer) -> None:
    """The answer is the one that was given alone, up to where this one was cut."""
    if request.sampling.max_tokens < asked.request.sampling.max_tokens:
        assert alone.last.text.startswith(answer.last.text), asked.kind
    else:
        assert (answer.last.text, answer.calls) == (alone.last.text, alone.calls), asked.kind


def tie_at_parting(answer: Answer, alone: Answer) -> float | None:
    """Where a greedy answer leaves the one given alone: by how much the other token was less likely there.

    None where it does not, or where one of them ends; infinite if the token was not among the likeliest at all.
    """
    said, at = answer.last.text.encode(), 0
    for entry in alone.logprobs:
        data = base64.b64decode(entry.chosen.data)
        if said[at:].startswith(data):
            at += len(data)
            continue
        rest = said[at:]
        if data.startswith(rest):
            return None  # cut here
        rivals = [
            entry.chosen.logprob - rival.logprob
            for rival in entry.top
            if rival.token != entry.chosen.token and _begins(rest, base64.b64decode(rival.data))
        ]
        return min(rivals, default=math.inf)
    return None


def _begins(rest: bytes, data: bytes) -> bool:
    return bool(data) and (rest.startswith(data) or data.startswith(rest))


@dataclass(kw_only=True)
class Storm:
    """Clients that ask questions, one after the other each, and check what they hear."""

    engine: EngineSupervisor
    asks: Sequence[Question]
    is_exact: bool  # company changes no bit on this build
    alone: dict[str, Answer] = field(default_factory=dict)
    n_answered: int = 0
    n_cancelled: int = 0
    n_compared: int = 0  # greedy answers
    ties: list[float] = field(default_factory=list)  # of those that left the one given alone
    prompt_tokens: int = 0  # of the answers
    completion_tokens: int = 0

    async def ask_alone(self) -> None:
        """Each question by itself, before the storm, with what else could have been said."""
        for each in self.asks:
            request = each.request
            if each.kind in GREEDY:
                request = replace(request, sampling=replace(request.sampling, top_logprobs=20))
            answer = await follow(self.engine, request)
            assert answer is not None
            check_shape(each, request, answer, [other.mark for other in self.asks])
            self.alone[each.mark] = answer

    def check_ties(self) -> None:
        """Where company changes a bit, an answer leaves the one given alone only at a near tie, and most never do."""
        assert max(self.ties, default=0.0) <= TIE
        assert len(self.ties) <= self.n_compared / 2

    async def rage(self, *, n_clients: int, n_requests: int, seed: int) -> None:
        """All clients at once; the first that is told something wrong ends all."""
        async with asyncio.TaskGroup() as group:
            for client in range(n_clients):
                group.create_task(self._client(random.Random(seed * 1000 + client), client, n_requests))

    async def _client(self, rng: random.Random, client: int, n_requests: int) -> None:
        for number in range(n_requests):
            asked = rng.choice(self.asks)
            request = asked.asked(rng, client * n_requests + number)
            leave_after = rng.randint(0, 5) if rng.random() < CANCELLED else None
            answer = await follow(self.engine, request, leave_after=leave_after)
            if answer is None:
                self.n_cancelled += 1
            else:
                self._note(asked, request, answer)

    def _note(self, asked: Question, request: Request, answer: Answer) -> None:
        self.n_answered += 1
        self.prompt_tokens += answer.last.usage.prompt_tokens
        self.completion_tokens += answer.last.usage.completion_tokens
        check_shape(asked, request, answer, [other.mark for other in self.asks])
        alone = self.alone[asked.mark]
        assert answer.last.usage.prompt_tokens == alone.last.usage.prompt_tokens
        if self.is_exact:
            check_same(asked, request, answer, alone)
        elif asked.kind in GREEDY:
            self.n_compared += 1
            tie = tie_at_parting(answer, alone)
            if tie is not None:
                self.ties.append(tie)
