"""Two ways to ask a model for a digest, chosen by what the model can do. Pure: they build questions and read answers.

`QuotingWriter` lets a small model only choose among the document's own sentences: under constrained decoding the answer can't hold
anything that the document does not say. `WritingWriter` lets a larger model write in its own words, and `grounded` checks the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.core import NewResult
from agents.runs.digest.passages import (
    CATEGORIES,
    MAX_TITLE_CHARS,
    asking_sentences,
    category_candidates,
    normalised,
    sentences,
    spread,
    telling_sentences,
    title_candidates,
)
from agents.runs.prefixes import Fixed, FixedPrompt
from engine.core import Message

MAX_ACTION_ITEMS = 8
SUMMARY_SENTENCES = 3
PART_SENTENCES = 2
LEAD_SENTENCES = 4
OPENING_PARTS = 12

# Models below this size make up facts when they write freely; measured on SmolLM2-135M, see agents/README.md.
WRITES_FREELY_FROM_BYTES = 900_000_000


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to ask the model: messages, the schema of the answer, and how long it may get."""

    messages: tuple[Message, ...] = field(repr=False)
    schema: Mapping[str, Any] = field(repr=False)
    max_tokens: int
    fixed: Fixed  # how much of the messages is the same whatever the document


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What was noted of one part of a long document."""

    summary: tuple[str, ...] = field(repr=False)
    action_items: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        return "\n".join(dict.fromkeys((*self.summary, *self.action_items)))


class Writer(Protocol):
    """Asks for notes of each part, and for the digest of a whole text or of all notes."""

    def ask_part(self, text: str) -> Question: ...
    def read_part(self, answer: Mapping[str, Any]) -> Notes: ...
    def ask_whole(self, text: str, notes: Sequence[Notes]) -> Question: ...
    def read_whole(self, answer: Mapping[str, Any]) -> NewResult: ...


_EXAMPLE = (
    "Minutes of the parents' evening. We talked about the school trip to the coast. The bus costs 900 euros. "
    "Maria will book the bus before Friday. The teachers hope for good weather. Every family pays 30 euros."
)
_EXAMPLE_SUMMARY = ["We talked about the school trip to the coast.", "Every family pays 30 euros."]
_EXAMPLE_DIGEST = {
    "category": "meeting notes",
    "title": "Minutes of the parents' evening",
    "summary": _EXAMPLE_SUMMARY,
    "action_items": ["Maria will book the bus before Friday."],
}
_ASK_QUOTES = "Which sentences say what this text is about?"
_ASK_DIGEST = "What kind of text is this, what is its title, and which sentences say what it is about?"


class QuotingWriter:
    """Every word of the answer is the document's own."""

    def __init__(self, instructions: str = "", *, whole: FixedPrompt = FixedPrompt.WHOLE) -> None:
        """`whole` names the beginning of its questions about a whole document."""
        self._system = _system(instructions)
        self._whole = whole

    def ask_part(self, text: str) -> Question:
        found = sentences(text)
        properties = {
            "summary": _one_of_each(spread(telling_sentences(found), PART_SENTENCES)),
            "action_items": _some_of(asking_sentences(found)),
        }
        example = {"summary": _EXAMPLE_SUMMARY, "action_items": _EXAMPLE_DIGEST["action_items"]}
        return self._question(text, _ASK_QUOTES, properties, example, FixedPrompt.PART)

    def read_part(self, answer: Mapping[str, Any]) -> Notes:
        return Notes(
            summary=tuple(dict.fromkeys(answer["summary"])),
            action_items=tuple(dict.fromkeys(answer["action_items"])),
        )

    def ask_whole(self, text: str, notes: Sequence[Notes]) -> Question:
        """`notes` is empty for a text that fits at once; else the choice is among what they hold."""
        if notes:
            # A document says at its beginning what it is about, so one sentence comes from there.
            lead = telling_sentences(sentences(text))[:LEAD_SENTENCES]
            noted = [line for note in notes for line in note.summary if line not in lead]
            shown = [*lead, *noted]
            telling = [lead, *spread(noted, SUMMARY_SENTENCES - 1)]
            asking = asking_sentences([item for note in notes for item in note.action_items])
        else:
            shown = sentences(text)
            telling, asking = spread(telling_sentences(shown), SUMMARY_SENTENCES), asking_sentences(shown)
        properties = {
            "category": {"enum": category_candidates(text)},
            "title": {"enum": title_candidates(text)},
            "summary": _one_of_each(telling),
            "action_items": _some_of(list(dict.fromkeys(asking))),
        }
        shown_text = "\n".join(shown) if notes else text
        return self._question(shown_text, _ASK_DIGEST, properties, _EXAMPLE_DIGEST, self._whole)

    def read_whole(self, answer: Mapping[str, Any]) -> NewResult:
        return _result(answer, " ".join(dict.fromkeys(answer["summary"])))

    def _question(
        self,
        text: str,
        ask: str,
        properties: Mapping[str, Any],
        example: Mapping[str, Any],
        prompt: FixedPrompt,
    ) -> Question:
        messages = (
            Message(role="system", content=self._system),
            Message(role="user", content=f"{_EXAMPLE}\n\n{ask}"),
            Message(role="assistant", content=json.dumps(example, separators=(",", ":"))),
            Message(role="user", content=f"{text}\n\n{ask}"),
        )
        fixed = Fixed(prompt=prompt, n_messages=len(messages) - 1)
        return Question(messages=messages, schema=_object(properties), max_tokens=2000, fixed=fixed)


class WritingWriter:
    """The model writes in its own words, within lengths."""

    def __init__(self, instructions: str = "") -> None:
        self._system = _system(instructions)

    def ask_part(self, text: str) -> Question:
        properties = {"summary": _text(40, 500), "action_items": _texts()}
        ask = "Summarise this part of a longer document in two or three sentences, and list what somebody has to do."
        return self._question(text, ask, properties)

    def read_part(self, answer: Mapping[str, Any]) -> Notes:
        return Notes(summary=(answer["summary"],), action_items=tuple(answer["action_items"]))

    def ask_whole(self, text: str, notes: Sequence[Notes]) -> Question:
        properties = {
            "category": {"enum": list(CATEGORIES)},
            "title": _text(4, MAX_TITLE_CHARS),
            "summary": _text(40, 600),
            "action_items": _texts(),
        }
        ask = (
            "Describe this document: its category, a short title, a summary in two to four sentences, and the action "
            "items (who has to do what, by when; none if there are none)."
        )
        return self._question(_notes_text(text, notes) if notes else text, ask, properties)

    def read_whole(self, answer: Mapping[str, Any]) -> NewResult:
        return _result(answer, answer["summary"])

    def _question(self, text: str, ask: str, properties: Mapping[str, Any]) -> Question:
        messages = (
            Message(role="system", content=self._system),
            Message(role="user", content=f"Document:\n\n{text}\n\n{ask} Use only facts from the document."),
        )
        fixed = Fixed(prompt=FixedPrompt.WHOLE, n_messages=1)
        return Question(messages=messages, schema=_object(properties), max_tokens=1200, fixed=fixed)


def writer_for(model_size_bytes: int, instructions: str) -> Writer:
    """The writer for a model of this file size."""
    if model_size_bytes >= WRITES_FREELY_FROM_BYTES:
        return WritingWriter(instructions)
    return QuotingWriter(instructions)


def grounded(result: NewResult, text: str) -> bool:
    """Whether a digest keeps to its document: each number stands there, and so do most of the longer words.

    A post-condition, not a proof: it catches made-up figures, dates and names, and text about something else.
    """
    source = normalised(text).casefold()
    claims = " ".join((result.title, result.summary, *result.action_items)).casefold()
    if any(number not in source for number in re.findall(r"\d+(?:[.,]\d+)*", claims)):
        return False
    words = set(re.findall(r"[^\W\d_]{5,}", claims))
    known = sum(word[:5] in source for word in words)
    return bool(result.summary.strip()) and known >= 0.6 * len(words)


def opening_notes(parts: Sequence[str]) -> list[Notes]:
    """The first sentences of each part, at most OPENING_PARTS of them; none for a text in one part."""
    if len(parts) == 1:
        return []
    step = max(1, len(parts) // OPENING_PARTS)
    openings = [sentences(part) for part in parts[::step][:OPENING_PARTS]]
    return [
        Notes(summary=tuple(found[:PART_SENTENCES]), action_items=tuple(asking_sentences(found)[:1]))
        for found in openings
    ]


def _system(instructions: str) -> str:
    return instructions.strip() or "You read one document and say what it is about."


def _result(answer: Mapping[str, Any], summary: str) -> NewResult:
    return NewResult(
        title=str(answer["title"]).strip(),
        summary=summary.strip(),
        action_items=tuple(dict.fromkeys(str(item).strip() for item in answer["action_items"])),
        category=str(answer["category"]),
    )


def _notes_text(text: str, notes: Sequence[Notes]) -> str:
    lines = [f"(Notes of a longer document that is named “{title_candidates(text)[0]}”.)"]
    for note in notes:
        lines += [*note.summary, *(f"To do: {item}" for item in note.action_items)]
    return "\n".join(lines)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(min_chars: int, max_chars: int) -> dict[str, Any]:
    return {"type": "string", "minLength": min_chars, "maxLength": max_chars}


def _texts() -> dict[str, Any]:
    return {"type": "array", "items": _text(8, 160), "maxItems": MAX_ACTION_ITEMS}


def _one_of_each(groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """An array with one choice out of each group: distinct and in the document's order by construction."""
    return {
        "type": "array",
        "prefixItems": [{"enum": list(group)} for group in groups],
        "items": False,
        "minItems": len(groups),
        "maxItems": len(groups),
    }


def _some_of(candidates: Sequence[str]) -> dict[str, Any]:
    """All candidates while they are few, else one out of each of MAX_ACTION_ITEMS groups."""
    return _one_of_each(spread(candidates, MAX_ACTION_ITEMS))
