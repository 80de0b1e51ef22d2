"""Errors keep their kind, their sentence and their details on the way out of the child."""

import pytest

from engine.errors import (
    EngineDied,
    EngineError,
    EngineStopped,
    ModelInvalid,
    ModelMissing,
    ModelSetAside,
    PromptTooLong,
    RequestInvalid,
    SchemaUnsupported,
    error_from_wire,
)


@pytest.mark.parametrize(
    "error",
    [
        ModelMissing("There is no model."),
        ModelInvalid("It is broken."),
        ModelSetAside("It is set aside."),
        RequestInvalid("Out of range."),
        EngineDied("It ended twice."),
        EngineStopped("It was stopped."),
        PromptTooLong(9_000, 8_192),
        PromptTooLong(700, 512, text_number=3),
        SchemaUnsupported("uniqueItems"),
    ],
)
def test_an_error_survives_the_wire(error: EngineError) -> None:
    twin = error_from_wire(error.code, str(error), error.details)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.details == error.details


def test_an_unknown_code_is_still_an_engine_error() -> None:
    error = error_from_wire("made_up", "Something failed.", {})
    assert type(error) is EngineError
    assert str(error) == "Something failed."


def test_codes_are_distinct() -> None:
    kinds = [ModelMissing, ModelInvalid, ModelSetAside, RequestInvalid, PromptTooLong, SchemaUnsupported]
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_sentences_name_the_remedy() -> None:
    assert str(PromptTooLong(9_000, 8_192)) == (
        "The prompt has 9,000 tokens and the model's context holds 8,192; shorten the text or split it."
    )
    assert str(PromptTooLong(700, 512, text_number=3)) == (
        "Text 3 has 700 tokens and the model takes 512 at a time; split the text."
    )
    assert "uniqueItems" in str(SchemaUnsupported("uniqueItems"))
