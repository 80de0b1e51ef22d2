"""The built-in model held to constraints: what it finishes always fits, and what can't be enforced is refused at once."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jsonschema
import pytest

from engine.core import (
    Choice,
    Constraint,
    Delta,
    Finished,
    FinishReason,
    JsonSchema,
    Lark,
    Message,
    Regex,
    Request,
    SamplingParams,
    StreamEvent,
    Tool,
    ToolCall,
    ToolCalled,
    ToolChoice,
)
from engine.errors import EngineError, RequestInvalid, SchemaUnsupported
from engine.supervisor import EngineSupervisor
from tests.engine.support import request

Make = Callable[..., EngineSupervisor]


def ask(text: str, *, request_id: str = "r", n_tokens: int = 200, **fields: Any) -> Request:
    sampling = {"max_tokens": n_tokens, "temperature": 0.0, **fields.pop("sampling", {})}
    messages = fields.pop("messages", (Message(role="user", content=text),))
    return Request(id=request_id, messages=messages, sampling=SamplingParams(**sampling), **fields)


async def events_of(engine: EngineSupervisor, asked: Request) -> list[StreamEvent]:
    return [event async for event in engine.stream(asked)]


async def answer(engine: EngineSupervisor, asked: Request) -> Finished:
    last = (await events_of(engine, asked))[-1]
    assert isinstance(last, Finished)
    return last


KINDS: tuple[tuple[Constraint, str], ...] = (
    (
        Choice(options=("yes", "no", "it depends", 'odd "one"\n\\ ü🙂')),
        r'yes|no|it depends|odd "one"\n\\ ü🙂',
    ),
    (Regex(pattern=r"[A-Z][a-z]{2,9}, [0-9]{2}/[0-9]{4}"), r"[A-Z][a-z]{2,9}, [0-9]{2}/[0-9]{4}"),
    (Regex(pattern=r"(?i:red|green) #[0-9a-f]{6}"), r"(?i:red|green) #[0-9a-f]{6}"),
    (
        Lark(
            grammar='start: "plan:" step{1,3}\nstep: "\\n- " WORD " " NUMBER\nWORD: /[a-z]{1,8}/\nNUMBER: /[0-9]{1,3}/'
        ),
        r"plan:(\n- [a-z]{1,8} [0-9]{1,3}){1,3}",
    ),
)


async def test_every_kind_of_constraint_is_finished_and_fits_at_any_temperature(make: Make) -> None:
    engine = make()
    asked = [
        (
            ask(
                "Tell me.",
                request_id=f"{number}-{temperature}-{seed}",
                constraint=constraint,
                sampling={"temperature": temperature, "seed": seed, "top_k": 0, "min_p": 0.0, "top_p": 1.0},
            ),
            form,
        )
        for number, (constraint, form) in enumerate(KINDS)
        for temperature, seed in ((0.0, 1), (1.0, 2), (1.5, 3))
    ]
    answers = await asyncio.gather(*(answer(engine, one) for one, _ in asked))
    for last, (one, form) in zip(answers, asked, strict=True):
        assert last.finish_reason is FinishReason.STOP, one
        assert re.fullmatch(form, last.text), (form, last.text)


TEXT = {"type": "string", "maxLength": 12}
SMALL = {"type": "integer", "minimum": -20, "maximum": 300}


def closed(required: tuple[str, ...] | None = None, **properties: Any) -> dict[str, Any]:
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


SCHEMAS: tuple[dict[str, Any], ...] = (
    TEXT,
    SMALL,
    {"type": "boolean"},
    {"type": "null"},
    {"type": "number", "minimum": 0.5, "maximum": 9.75, "multipleOf": 0.25},
    {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 50, "multipleOf": 5},
    {"enum": ["a", 1, None, True, {"x": [1, 2]}]},
    {"const": {"deep": ["ünï", 'quo"te', "back\\slash", 1.5]}},
    {"type": "string", "pattern": "^[a-z]{2,5}-[0-9]{3}$"},
    {"type": "string", "minLength": 3, "maxLength": 9},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "array", "items": SMALL, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": TEXT, "maxItems": 2},
    {"type": "array", "prefixItems": [SMALL, {"type": "boolean"}], "items": False, "minItems": 2},
    {"type": "array", "items": closed(a=SMALL, b=TEXT), "minItems": 1, "maxItems": 2},
    closed(name=TEXT, age=SMALL),
    closed(required=(), name=TEXT, age=SMALL, ok={"type": "boolean"}),
    closed(required=("b",), a=TEXT, b=TEXT, c=TEXT),
    closed(outer=closed(inner=closed(value=SMALL))),
    closed(
        kind={"enum": ["cat", "dog"]}, tags={"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 3}
    ),
    {
        "type": "object",
        "patternProperties": {"^k[0-9]$": SMALL},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    {"anyOf": [SMALL, closed(a=TEXT), {"type": "null"}]},
    {"oneOf": [closed(kind={"const": "a"}, x=SMALL), closed(kind={"const": "b"}, y=TEXT)]},
    {"allOf": [{"type": "object", "properties": {"a": SMALL}, "required": ["a"]}, closed(a=SMALL, b=TEXT)]},
    {"type": ["string", "null"], "maxLength": 8},
    {
        "$defs": {"point": closed(x=SMALL, y=SMALL)},
        **closed(start={"$ref": "#/$defs/point"}, end={"$ref": "#/$defs/point"}),
    },
    {
        "$defs": {"tree": closed(value=SMALL, child={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]})},
        "$ref": "#/$defs/tree",
    },
    closed(**{"naïve key": TEXT, 'quo"ted': SMALL, "": {"type": "boolean"}}),
)


async def test_thirty_schemas_with_many_seeds_are_finished_and_validate(make: Make) -> None:
    assert len(SCHEMAS) == 30
    engine = make()
    asked = [
        ask(
            "Give me an example as JSON.",
            request_id=f"{number}-{seed}",
            n_tokens=80,
            constraint=JsonSchema(schema=schema),
            sampling={"temperature": 0.0 if seed == 0 else 1.0, "seed": seed},
        )
        for number, schema in enumerate(SCHEMAS)
        for seed in range(3)
    ]
    answers = await asyncio.gather(*(answer(engine, one) for one in asked))
    n_cut = 0
    for last, one in zip(answers, asked, strict=True):
        assert isinstance(one.constraint, JsonSchema)
        if last.finish_reason is FinishReason.LENGTH:
            n_cut += 1  # a tree may grow without end; what is cut says so
            assert "tree" in str(one.constraint.schema)
            continue
        assert last.finish_reason is FinishReason.STOP
        jsonschema.validate(
            json.loads(last.text), dict(one.constraint.schema), format_checker=jsonschema.FormatChecker()
        )
    assert n_cut <= 3


REFUSED: tuple[tuple[Constraint, str], ...] = (
    (Regex(pattern="a(b"), r"regular expression can't be used at character 2 \(unclosed group\)"),
    (Regex(pattern=r"(a)\1"), "backreferences are not supported"),
    (Regex(pattern="(?=a)b"), "look-around"),
    (Lark(grammar="start: foo"), "grammar can't be used at line 1, column 8 .*foo"),
    (Lark(grammar='start: "a" |\nfoo: ('), "grammar can't be used at line"),
    (Lark(grammar="start: start"), "never end"),
    (Lark(grammar="start: " + "(" * 30_000 + '"a"' + ")" * 30_000), "nested"),
    (Lark(grammar='start: "' + "a" * 200_000 + '"'), "its size"),
)


async def test_an_expression_that_can_not_be_used_is_refused_with_its_place(make: Make) -> None:
    engine = make()
    for constraint, sentence in REFUSED:
        with pytest.raises(RequestInvalid, match=sentence):
            await anext(engine.stream(ask("x", constraint=constraint)))
    assert engine.status.deaths == 0


async def test_a_wrong_pattern_in_a_schema_is_named_in_one_line(make: Make) -> None:
    engine = make()
    for schema, sentence in (
        ({"type": "string", "pattern": "a(b"}, r"\(a pattern is wrong at character 2: unclosed group\)"),
        (closed(a={"type": "string", "pattern": "(?=a)b"}), "at character 1: look-around"),
    ):
        with pytest.raises(SchemaUnsupported, match=sentence):
            await anext(engine.stream(ask("x", constraint=JsonSchema(schema=schema))))


async def test_a_reference_out_of_the_schema_or_to_nothing_is_told_in_plain_words(make: Make) -> None:
    engine = make()
    for reference, sentence in (
        ("https://example.com/" + "a" * 500, r"\(https://example.com/a{100} lies outside of the schema, and"),
        ("other.json", r"\(other.json lies outside of the schema, and nothing is fetched\)"),
        ("#/$defs/nope", r"\(the reference #/\$defs/nope leads nowhere\)"),
    ):
        schema = closed(a={"$ref": reference})
        with pytest.raises(SchemaUnsupported, match=sentence):
            await anext(engine.stream(ask("x", constraint=JsonSchema(schema=schema))))


async def test_hostile_schemas_are_refused_or_served_and_never_hang(make: Make) -> None:
    engine = make()
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(31):  # as deep as a request may be
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    hostile: list[dict[str, Any]] = [
        deep,
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5000)}},
        {"allOf": [{"anyOf": [{"properties": {f"a{i}_{j}": {}}} for j in range(10)]} for i in range(10)]},
        {"type": "string", "pattern": "^(a{1000}){1000}$"},
        {"$ref": "#"},
        {"not": {"type": "string"}},
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"oneOf": [{"type": "integer"}, {"type": "number"}], "x-guidance": {"coerce_one_of": True}},
        {"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}},
    ]
    for schema in hostile:
        with suppress(EngineError):
            await asyncio.wait_for(
                answer(engine, ask("x", n_tokens=8, constraint=JsonSchema(schema=schema))), 30
            )
    for schema in hostile[5:]:
        with pytest.raises(SchemaUnsupported):
            await answer(engine, ask("x", constraint=JsonSchema(schema=schema)))
    last = await answer(engine, ask("x", constraint=JsonSchema(schema={"type": "boolean"})))
    assert last.text in {"true", "false"}
    assert engine.status.deaths == 0


WEATHER = Tool(
    name="get_weather",
    description="Tells the weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
        "required": ["city"],
    },
)
MAIL = Tool(
    name="send_mail",
    description="Sends a mail.",
    parameters=closed(to={"type": "string", "maxLength": 20}, urgent={"type": "boolean"}),
)
QUESTION = "What is the weather in Paris? Use the tool get_weather."


def check_call(call: ToolCall) -> None:
    tool = next(tool for tool in (WEATHER, MAIL) if tool.name == call.name)
    jsonschema.validate(json.loads(call.arguments), dict(tool.parameters))
    assert call.id


async def test_a_required_call_comes_whole_and_fits_its_tool(make: Make) -> None:
    engine = make()
    for temperature in (0.0, 1.0):
        for fields in ({}, {"parallel_tool_calls": False}, {"tool_name": "send_mail"}):
            asked = ask(
                QUESTION, tools=(WEATHER, MAIL), tool_choice=ToolChoice.REQUIRED, n_tokens=800,
                sampling={"temperature": temperature, "seed": 4}, **fields,
            )  # fmt: skip
            events = await events_of(engine, asked)
            last = events[-1]
            assert isinstance(last, Finished)
            assert (last.text, last.finish_reason) == ("", FinishReason.TOOL_CALLS)
            assert last.tool_calls == tuple(event.call for event in events if isinstance(event, ToolCalled))
            for call in last.tool_calls:
                check_call(call)
            if fields:
                assert len(last.tool_calls) == 1
            if "tool_name" in fields:
                assert last.tool_calls[0].name == "send_mail"
            assert len({call.id for call in last.tool_calls}) == len(last.tool_calls)
            assert len({(call.name, call.arguments) for call in last.tool_calls}) == len(last.tool_calls)


def with_examples(question: str) -> tuple[Message, ...]:
    """A conversation that shows a small model how calls are made here."""
    messages: list[Message] = []
    for number, city in enumerate(("Rome", "Oslo", "Lima")):
        call = ToolCall(id=f"call{number:05}", name="get_weather", arguments=json.dumps({"city": city}))
        messages += [
            Message(role="user", content=f"What is the weather in {city}?"),
            Message(role="assistant", content="Let me look.\n", tool_calls=(call,)),
            Message(role="tool", content=f"Sunny in {city}.", tool_call_id=call.id),
            Message(role="assistant", content=f"It is sunny in {city}."),
        ]
    return (*messages, Message(role="user", content=question))


async def test_left_to_itself_the_model_may_write_and_then_call(make: Make) -> None:
    engine = make()
    messages = with_examples("What is the weather in Paris?")
    events = await events_of(engine, ask("", messages=messages, tools=(WEATHER, MAIL)))
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.finish_reason is FinishReason.TOOL_CALLS
    assert last.text.strip() == "Let me look."
    assert "<" not in last.text
    assert last.tool_calls[0].name == "get_weather"
    check_call(last.tool_calls[0])
    assert json.loads(last.tool_calls[0].arguments)["city"] == "Paris"
    assert "".join(event.text for event in events if isinstance(event, Delta)) == last.text

    none = await answer(engine, ask("", messages=messages, tools=(WEATHER,), tool_choice=ToolChoice.NONE))
    assert none.tool_calls == ()
    assert none.finish_reason is not FinishReason.TOOL_CALLS

    plain = await answer(engine, ask("Name a colour.", tools=(WEATHER,), n_tokens=12))
    assert plain.text
    assert plain.tool_calls == ()

    cut = await answer(engine, ask("", messages=messages, tools=(WEATHER,), n_tokens=12))
    assert (cut.finish_reason, cut.tool_calls) == (FinishReason.LENGTH, ())


async def test_tools_whose_parameters_can_not_be_enforced_are_refused_by_keyword(make: Make) -> None:
    engine = make()
    odd = Tool(name="odd", parameters=closed(a={"type": "array", "uniqueItems": True}))
    with pytest.raises(RequestInvalid, match="uniqueItems"):
        await anext(engine.stream(ask("x", tools=(odd,))))


async def test_log_probabilities_belong_to_the_tokens_and_sum_to_at_most_one(make: Make) -> None:
    engine = make()
    for constraint in (None, JsonSchema(schema=closed(colour={"enum": ["red", "blue"]}))):
        asked = ask("Name a colour.", n_tokens=12, constraint=constraint, sampling={"top_logprobs": 5})
        events = await events_of(engine, asked)
        deltas = [event for event in events if isinstance(event, Delta)]
        found = [entry for delta in deltas for entry in delta.logprobs]
        assert len(found) == sum(delta.tokens for delta in deltas)
        shown = b"".join(base64.b64decode(entry.chosen.data) for entry in found)
        assert shown.decode() == "".join(delta.text for delta in deltas)
        for entry in found:
            assert len(entry.top) == 5
            values = [other.logprob for other in entry.top]
            assert values == sorted(values, reverse=True)
            assert sum(map(math.exp, values)) <= 1 + 1e-4
            if constraint is None:
                assert entry.chosen == entry.top[0], "greedy takes the likeliest"
    without = await events_of(engine, ask("Name a colour.", n_tokens=3))
    assert all(not event.logprobs for event in without if isinstance(event, Delta))


async def test_a_bias_forbids_a_token_and_one_that_the_model_lacks_is_refused(make: Make) -> None:
    engine = make()
    events = await events_of(engine, ask("Name a colour.", n_tokens=1, sampling={"top_logprobs": 0}))
    first = next(event for event in events if isinstance(event, Delta)).logprobs[0].chosen.token
    other = await events_of(
        engine,
        ask("Name a colour.", n_tokens=12, sampling={"top_logprobs": 0, "logit_bias": {first: -100.0}}),
    )
    tokens = [entry.chosen.token for event in other if isinstance(event, Delta) for entry in event.logprobs]
    assert tokens
    assert first not in tokens
    with pytest.raises(RequestInvalid, match="logit_bias"):
        await answer(engine, ask("x", sampling={"logit_bias": {10_000_000: 1.0}}))


async def test_penalties_keep_the_model_from_repeating_itself(make: Make) -> None:
    engine = make()
    asked = {
        "n_tokens": 40,
        "messages": (Message(role="user", content="Say: go go go go go go go go go go"),),
    }
    plain, penalised = await asyncio.gather(
        answer(engine, ask("", **asked)),
        answer(
            engine,
            ask("", request_id="p", **asked, sampling={"frequency_penalty": 2.0, "presence_penalty": 2.0}),
        ),
    )
    assert distinct_share(penalised.text) > distinct_share(plain.text)


def distinct_share(text: str) -> float:
    words = text.lower().split()
    return len(set(words)) / len(words)


async def test_a_raw_prompt_is_continued_as_it_is_and_may_be_empty(make: Make) -> None:
    engine = make()
    sampling = SamplingParams(max_tokens=4, temperature=0.0)
    last = await answer(
        engine, Request(id="raw", prompt="One, two, three, four, five, six,", sampling=sampling)
    )
    assert last.text.lstrip().startswith("seven")
    assert (await answer(engine, Request(id="empty", prompt="", sampling=sampling))).usage.prompt_tokens == 1


async def test_many_constrained_streams_at_once_are_all_finished_and_fit(make: Make) -> None:
    engine = make()
    schema = closed(name=TEXT, age=SMALL)

    def person(number: int) -> Request:
        return request(
            f"Invent person number {number}.",
            request_id=f"p{number}",
            json_schema=schema,
            temperature=1.0,
            seed=number,
        )

    together = await asyncio.gather(*(answer(engine, person(number)) for number in range(6)))
    for last in together:
        assert last.finish_reason is FinishReason.STOP
        jsonschema.validate(json.loads(last.text), schema)
    assert len({last.text for last in together}) > 1
