"""The questions to the model, and what their answers may hold."""

from __future__ import annotations

import json

import pytest

from agents.core import NewResult
from agents.runs.digest.writers import (
    Notes,
    QuotingWriter,
    WritingWriter,
    grounded,
    opening_notes,
    writer_for,
)

TEXT = (
    "# Spring\n\nThe committee met on Monday. The bill was 640 euros. Piotr must replace the valve by 1 April. "
    "Ana will write the invitation. We talked about chickens."
)


def choices(schema: dict[str, object], name: str) -> list[list[str]]:
    return [group["enum"] for group in schema["properties"][name]["prefixItems"]]  # type: ignore[index]


def test_a_small_model_can_only_quote() -> None:
    question = QuotingWriter().ask_whole(TEXT, [])
    groups = choices(dict(question.schema), "summary")
    assert [sentence for group in groups for sentence in group] == [
        "The committee met on Monday.",
        "The bill was 640 euros.",
        "Piotr must replace the valve by 1 April.",
        "Ana will write the invitation.",
        "We talked about chickens.",
    ]
    assert choices(dict(question.schema), "action_items") == [
        ["Piotr must replace the valve by 1 April."],
        ["Ana will write the invitation."],
    ]
    assert question.schema["properties"]["title"] == {"enum": ["Spring"]}


def test_the_digest_of_a_long_document_chooses_among_its_beginning_and_the_notes() -> None:
    beginning = [f"The opening sentence number {i} tells of rivers." for i in range(4)]
    text = "\n\n".join([*beginning, "A later sentence of the long text stands here."])
    notes = [
        Notes(summary=("One noted fact stands here.",), action_items=("Tom must call.",)),
        Notes(summary=("Another noted fact stands here.",), action_items=()),
    ]
    question = QuotingWriter().ask_whole(text, notes)
    assert choices(dict(question.schema), "summary") == [
        beginning,
        ["One noted fact stands here."],
        ["Another noted fact stands here."],
    ]
    assert choices(dict(question.schema), "action_items") == [["Tom must call."]]


def test_an_answer_becomes_a_result_without_repeats() -> None:
    answer = {
        "title": " Spring ",
        "summary": ["The bill was 640 euros.", "Ana will write the invitation."],
        "action_items": ["Call.", "Call."],
        "category": "other",
    }
    assert QuotingWriter().read_whole(answer) == NewResult(
        title="Spring",
        summary="The bill was 640 euros. Ana will write the invitation.",
        action_items=("Call.",),
        category="other",
    )


def test_the_size_of_the_model_decides_how_it_writes() -> None:
    assert isinstance(writer_for(98_000_000, ""), QuotingWriter)
    assert isinstance(writer_for(2_500_000_000, ""), WritingWriter)


def test_the_agents_own_instructions_reach_the_model() -> None:
    assert WritingWriter("Write for children.").ask_part(TEXT).messages[0].content == "Write for children."


@pytest.mark.parametrize(
    ("summary", "fits"),
    [
        ("The committee paid a bill of 640 euros.", True),
        ("The committee paid a bill of 950 euros.", False),
        ("Quantum processors revolutionise galactic shipping lanes.", False),
        ("", False),
    ],
)
def test_an_answer_with_other_numbers_or_words_than_its_document_is_not_accepted(
    summary: str, fits: bool
) -> None:
    result = NewResult(title="Spring", summary=summary, action_items=(), category="other")
    assert grounded(result, TEXT) is fits


def test_openings_stand_for_a_long_document_and_are_few() -> None:
    parts = [f"Part {index} begins like this. It goes on like that." for index in range(100)]
    notes = opening_notes(parts)
    assert len(notes) == 12
    assert notes[0].summary == ("Part 0 begins like this.", "It goes on like that.")
    assert opening_notes(["only one"]) == []


def test_schemas_are_plain_json() -> None:
    for writer in (QuotingWriter(), WritingWriter()):
        json.dumps(dict(writer.ask_whole(TEXT, []).schema))
        json.dumps(dict(writer.ask_part(TEXT).schema))
