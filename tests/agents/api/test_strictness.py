"""Unknown fields, wrong types and numbers out of range: a 400 in the API's own shape, naming the field, and no engine asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.api.bodies import MAX_VALUES, has_too_many_values
from engine.fakes import ScriptedEngine
from tests.agents.api.doors import EMBEDDER, MODEL, door_for

JSON = {"content-type": "application/json"}
TURN = [{"role": "user", "content": "Hm?"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": TURN},
    "/v1/completions": {"model": MODEL, "prompt": "Hm"},
    "/v1/responses": {"model": MODEL, "input": "Hm?"},
    "/v1/embeddings": {"model": EMBEDDER, "input": "Hm?"},
    "/v1/messages": {"model": MODEL, "max_tokens": 5, "messages": TURN},
    "/v1/messages/count_tokens": {"model": MODEL, "messages": TURN},
}
MEGABYTE = "x" * 1_000_000
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def message_of(path: str, answer: Any) -> tuple[str, str]:
    """The error's type and sentence, after a look at the whole shape."""
    body = answer.json()
    if path.startswith("/v1/messages"):
        assert body.keys() == {"type", "error"}
        assert body["type"] == "error"
        assert body["error"].keys() == {"type", "message"}
    else:
        assert body.keys() == {"error"}
        assert body["error"].keys() == {"message", "type", "param", "code"}
    return body["error"]["type"], body["error"]["message"]


async def refused(bodies: dict[str, list[bytes]], status: int = 400) -> dict[str, list[str]]:
    """Sends raw bodies; each must be refused. Returns the sentences by path."""
    said: dict[str, list[str]] = {}
    async with door_for(ScriptedEngine([])) as door:
        for path, raws in bodies.items():
            for raw in raws:
                answer = await door.http.post(path, content=raw, headers=JSON)
                assert answer.status_code == status, (path, raw[:200], answer.text[:300])
                kind, sentence = message_of(path, answer)
                assert kind == "invalid_request_error"
                assert sentence.endswith(".")
                said.setdefault(path, []).append(sentence)
        assert door.engine.requests == []
    return said


def changed(path: str, **changes: Any) -> bytes:
    return json.dumps({**BODIES[path], **changes}).encode()


async def test_an_unknown_field_is_named() -> None:
    said = await refused({path: [changed(path, surprise=1)] for path in BODIES})
    assert all("surprise is unknown" in sentence for sentences in said.values() for sentence in sentences)


async def test_a_missing_or_mistyped_field_is_named() -> None:
    bodies = {path: [changed(path, model=None), changed(path, model=5), b"{}"] for path in BODIES}
    said = await refused(bodies)
    assert all(sentences[0].startswith("model must be a string") for sentences in said.values())


async def test_what_is_no_json_object_is_refused() -> None:
    raws = [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"model": "m"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ]
    await refused(dict.fromkeys(BODIES, raws))


async def test_a_number_that_is_none_is_refused() -> None:
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/messages")
    fields = ("temperature", "top_p", "max_tokens", "min_p", "repeat_penalty", "top_k", "seed")
    numbers = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"true", b'"1"', b"1e9", b"9" * 400)
    await refused(
        {
            path: [
                changed(path, **{field: "SPOT"}).replace(b'"SPOT"', number)
                for field in fields
                for number in numbers
            ]
            for path in paths
        }
    )


REFUSED_CHATS: list[dict[str, Any]] = [
    {"max_tokens": 10**9},
    {"max_tokens": 0},
    {"max_completion_tokens": 5, "max_tokens": 5},
    {"stop": [MEGABYTE]},
    {"stop": MEGABYTE},
    {"stop": ["x"] * 1000},
    {"stop": [""]},
    {"n": 0},
    {"n": 1000},
    {"temperature": 2.1},
    {"presence_penalty": -2.1},
    {"seed": 2**32},
    {"top_logprobs": 3},
    {"logprobs": True, "top_logprobs": 21},
    {"logit_bias": {"x": 1}},
    {"logit_bias": {"-1": 1}},
    {"logit_bias": {"1": 101}},
    {"logit_bias": {str(i): 1 for i in range(301)}},
    {"messages": []},
    {"messages": [{"role": "wizard", "content": "Hm?"}]},
    {"messages": [{"role": "user", "content": "half \ud800"}]},
    {"messages": [{"role": "user", "content": "Hm?", "surprise": 1}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
    {"messages": [{"role": "tool", "content": "no call"}]},
    {"messages": [{"role": "user", "content": "x" * 5_000_000}]},
    {"stream_options": {"include_usage": True}},
    {"response_format": {"type": "json_schema"}},
    {"response_format": {"type": "xml"}},
    {"response_format": {"type": "json_object"}, "constraint": {"type": "regex", "pattern": "a"}},
    {"response_format": {"type": "json_object"}, "stop": "x"},
    {"response_format": {"type": "json_object"}, "tools": [TOOL]},
    {"constraint": {"type": "choice", "options": []}},
    {"tool_choice": "required"},
    {"tools": [TOOL, TOOL]},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
    {"tools": [{"type": "function", "function": {"name": "no good name"}}]},
    {"store": True},
]


async def test_a_chat_that_can_not_be_served_is_refused() -> None:
    path = "/v1/chat/completions"
    await refused({path: [changed(path, **changes) for changes in REFUSED_CHATS]})


REFUSED_ELSEWHERE: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": []}),
    ("/v1/completions", {"prompt": [1, 2, 3]}),
    ("/v1/completions", {"prompt": ""}),
    ("/v1/completions", {"prompt": ["a"] * 64, "n": 16}),
    ("/v1/completions", {"best_of": 3}),
    ("/v1/completions", {"logprobs": 6}),
    ("/v1/completions", {"suffix": "end"}),
    ("/v1/responses", {"input": []}),
    ("/v1/responses", {"input": [{"type": "item_reference", "id": "x"}]}),
    (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
    ),
    ("/v1/responses", {"truncation": "auto"}),
    ("/v1/responses", {"background": True}),
    ("/v1/responses", {"tools": [{"type": "web_search"}]}),
    ("/v1/responses", {"max_output_tokens": 10**9}),
    ("/v1/embeddings", {"input": []}),
    ("/v1/embeddings", {"input": [[1, 2]]}),
    ("/v1/embeddings", {"input": ["x"] * 2049}),
    ("/v1/embeddings", {"encoding_format": "int8"}),
    ("/v1/messages", {"max_tokens": None}),
    ("/v1/messages", {"max_tokens": 10**9}),
    ("/v1/messages", {"stop_sequences": [MEGABYTE]}),
    ("/v1/messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("/v1/messages", {"system": [{"type": "image"}]}),
]


async def test_what_the_other_routes_can_not_serve_is_refused() -> None:
    bodies: dict[str, list[bytes]] = {path: [] for path, _ in REFUSED_ELSEWHERE}
    for path, changes in REFUSED_ELSEWHERE:
        bodies[path].append(changed(path, **changes))
    await refused(bodies)


async def test_the_place_of_a_mistake_is_told_in_the_callers_words() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": 5}]
    async with door_for(ScriptedEngine([])) as door:
        answers = [
            await door.http.post("/v1/chat/completions", content=raw, headers=JSON)
            for raw in (
                changed("/v1/chat/completions", messages=[*TURN, {"role": "user", "content": content}]),
                changed("/v1/chat/completions", messages=[{"role": "user"}]),
                changed("/v1/chat/completions", tools=[{"type": "function", "function": {}}]),
            )
        ]
    params = [answer.json()["error"]["param"] for answer in answers]
    assert params == ["messages[1].content[1].text", "messages[0].content", "tools[0].function.name"]


@pytest.mark.parametrize(
    ("path", "changes", "told"),
    [
        ("/v1/chat/completions", {"stop": ["x"] * 1000}, "at most"),
        ("/v1/embeddings", {"input": []}, "input is an empty list"),
        ("/v1/embeddings", {"input": ["x"] * 2049}, "at most 2,048"),
    ],
)
async def test_a_list_of_the_wrong_length_is_not_told_to_be_a_text(
    path: str, changes: dict[str, Any], told: str
) -> None:
    async with door_for(ScriptedEngine([])) as door:
        answer = await door.http.post(path, content=changed(path, **changes), headers=JSON)
    assert told in message_of(path, answer)[1]


CALL = {"type": "function_call", "call_id": "c", "name": "f"}


@pytest.mark.parametrize(
    ("path", "changes", "param", "told"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "king", "content": "x"}]},
            "messages[0].role",
            "must be 'system', 'developer', 'user', 'assistant', 'tool'",
        ),
        ("/v1/chat/completions", {"messages": [{"content": "x"}]}, "messages[0].role", "is missing"),
        ("/v1/chat/completions", {"store": True}, "store", "must be false"),
        ("/v1/chat/completions", {"n": 0}, "n", "must be 1 or more"),
        ("/v1/chat/completions", {"n": "two"}, "n", "must be a whole number"),
        ("/v1/chat/completions", {"stop": 5}, "stop", "must be a string or a list"),
        ("/v1/chat/completions", {"model": ""}, "model", "is empty"),
        (
            "/v1/chat/completions",
            {"tools": [{"type": "web_search", "size": 1}]},
            "tools[0].type",
            "Only function tools are supported here; leave tools[0] out",
        ),
        (
            "/v1/responses",
            {"tools": [{"type": "web_search", "size": 1}]},
            "tools[0].type",
            "Only function tools are supported here; leave tools[0] out",
        ),
        ("/v1/responses", {"input": [CALL]}, "input[0].arguments", "is missing"),
        ("/v1/responses", {"input": [{"type": "odd"}]}, "input[0].type", "'message' or 'function_call' or"),
        ("/v1/embeddings", {"input": [1, 2]}, "input[0]", "must be a string"),
        ("/v1/messages", {"tools": [{"type": "bash_20250124", "name": "b"}]}, None, "Only custom tools"),
    ],
)
async def test_a_mistake_is_told_in_plain_words(
    path: str, changes: dict[str, Any], param: str | None, told: str
) -> None:
    async with door_for(ScriptedEngine([])) as door:
        answer = await door.http.post(path, content=changed(path, **changes), headers=JSON)
    assert answer.status_code == 400
    assert told in message_of(path, answer)[1]
    assert answer.json()["error"].get("param") == param


def test_values_are_counted_outside_of_texts() -> None:
    n = MAX_VALUES
    assert not has_too_many_values(json.dumps(["," * n, '"[{\\', {"a": "]"}]).encode())
    assert not has_too_many_values(json.dumps(["[" * n + '"\\"' * n]).encode())
    assert not has_too_many_values(b"[" + b'"a",' * (n - 1) + b'"a"]')
    for piece in (b"[],", b"1,", b"{},", b'"",', b'{"a":"b"},', b'"\\\\",', b'"\\"",'):
        assert has_too_many_values(b"[" + piece * n + b"1]"), piece
    assert has_too_many_values(b"[" * 2 * n)


async def test_a_body_of_countless_values_is_refused_before_any_of_them_is_made() -> None:
    many = b',"more":[' + b"[]," * MAX_VALUES + b"[]]}"
    said = await refused({path: [json.dumps(BODIES[path]).encode()[:-1] + many] for path in BODIES})
    assert all("200,000 values" in sentence for [sentence] in said.values())


@pytest.mark.parametrize(
    "headers",
    [
        {"x-hearth-priority": "urgent"},
        {"x-hearth-priority": ""},
        {"x-hearth-agent": ""},
        {"x-hearth-agent": "a" * 65},
        {"x-hearth-agent": "../etc"},
        {"x-hearth-agent": "a/b"},
    ],
)
async def test_a_header_that_says_nothing_sensible_is_refused(headers: dict[str, str]) -> None:
    async with door_for(ScriptedEngine([])) as door:
        for path, body in BODIES.items():
            answer = await door.http.post(path, json=body, headers=headers)
            assert answer.status_code == 400, path
            assert next(iter(headers)) in message_of(path, answer)[1]
        assert door.engine.requests == []


async def test_an_unknown_route_or_method_has_the_shape_of_its_api() -> None:
    async with door_for(ScriptedEngine([])) as door:
        for method, path, status in (
            ("GET", "/v1/chat/completions", 405),
            ("POST", "/v1/chat/completions/x", 404),
            ("DELETE", "/v1/models", 405),
            ("POST", "/v1/files", 404),
            ("POST", "/v1/chat/completions/", 404),
            ("GET", "/v1/messages", 405),
            ("POST", "/v1/messages/batches", 404),
        ):
            answer = await door.http.request(method, path)
            assert answer.status_code == status
            message_of(path, answer)
