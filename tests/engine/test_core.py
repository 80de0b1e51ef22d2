"""What a request may say, and what a status can become."""

import math

import pytest

from engine.core import (
    MAX_JSON_DEPTH,
    Finished,
    FinishReason,
    JsonSchema,
    Message,
    Priority,
    Request,
    SamplingParams,
    Tool,
    Usage,
)
from engine.errors import RequestInvalid
from engine.model import ModelSpec
from engine.status import ALLOWED_TRANSITIONS, EngineState


@pytest.mark.parametrize(
    "field",
    [
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 1.01},
        {"min_p": -0.01},
        {"repeat_penalty": 0.0},
        {"seed": -1},
        {"seed": 2**32 - 1},
        {"seed": True},
        {"stop": ("",)},
        {"stop": ("x" * 257,)},
        {"stop": ("x",) * 17},
    ],
)
def test_a_sampling_field_out_of_range_is_refused_by_name(field: dict[str, object]) -> None:
    name = next(iter(field))
    with pytest.raises(RequestInvalid, match=name):
        SamplingParams(**field)  # type: ignore[arg-type]


def test_the_limits_themselves_are_allowed() -> None:
    params = SamplingParams(max_tokens=1, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=2**32 - 2)
    assert params.seed == 2**32 - 2


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="tool"):
        Message(role="tool", content="x")


def test_half_a_surrogate_pair_is_refused_before_it_reaches_the_pipe() -> None:
    with pytest.raises(RequestInvalid, match="surrogate"):
        Message(role="user", content="\ud800")


def test_a_request_needs_messages_and_can_not_mix_stop_strings_with_a_schema() -> None:
    with pytest.raises(RequestInvalid, match="no messages"):
        Request(id="r", messages=())
    with pytest.raises(RequestInvalid, match="not both"):
        Request(
            id="r",
            messages=(Message(role="user", content="x"),),
            sampling=SamplingParams(stop=("}",)),
            constraint=JsonSchema(schema={"type": "object"}),
        )


def test_no_repr_shows_text_of_the_user() -> None:
    secret = "my-private-text"
    message = Message(role="user", content=secret)
    request = Request(id="r", messages=(message,), sampling=SamplingParams(stop=(secret,)))
    usage = Usage(prompt_tokens=1, completion_tokens=1, prefill_s=1.0, decode_s=1.0)
    finished = Finished(text=secret, finish_reason=FinishReason.STOP, usage=usage)
    assert secret not in repr((message, request, finished))


def test_the_rate_is_zero_when_nothing_was_decoded() -> None:
    assert Usage(prompt_tokens=9, completion_tokens=0, prefill_s=1.0, decode_s=0.0).tokens_per_s == 0.0
    assert Usage(prompt_tokens=9, completion_tokens=30, prefill_s=1.0, decode_s=2.0).tokens_per_s == 10.0


def test_interactive_work_sorts_first() -> None:
    assert sorted(Priority) == [Priority.INTERACTIVE, Priority.NORMAL, Priority.BACKGROUND]


def test_every_state_has_a_way_out_and_can_be_stopped() -> None:
    assert set(ALLOWED_TRANSITIONS) == set(EngineState)
    for state in set(EngineState) - {EngineState.STOPPED}:
        assert EngineState.STOPPED in ALLOWED_TRANSITIONS[state]


def test_a_context_too_small_to_be_of_use_is_refused(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(RequestInvalid, match="n_ctx"):
        ModelSpec(path=Path("x.gguf"), name="x", n_ctx=16)


@pytest.mark.parametrize(
    "schema",
    [{"a": object()}, {"a": math.nan}, {"a": "\ud800"}, {1: {2, 3}}],
    ids=["object", "nan", "surrogate", "set"],
)
def test_a_schema_that_is_no_json_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(RequestInvalid, match="plain JSON"):
        Request(id="r", messages=(Message(role="user", content="x"),), constraint=JsonSchema(schema=schema))


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_json_that_is_nested_too_deeply_is_refused_before_it_reaches_any_pipe() -> None:
    JsonSchema(schema=nested(MAX_JSON_DEPTH))
    endless: dict[str, object] = {}
    endless["a"] = endless
    for schema in (nested(MAX_JSON_DEPTH + 2), nested(100_000), endless):
        with pytest.raises(RequestInvalid, match="nested more than 64 levels"):
            JsonSchema(schema=schema)
        with pytest.raises(RequestInvalid, match="nested more than 64 levels"):
            Tool(name="t", parameters=schema)
