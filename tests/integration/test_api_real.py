"""The official clients against a real runtime in a process of its own, with the built-in models."""

from __future__ import annotations

import asyncio
import json
import math
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import jsonschema
import openai
import psutil
import pytest
from pydantic import BaseModel

from agents.paths import HomePaths
from app.client import RuntimeClient
from app.launch import LaunchOptions, end_runtime, start_runtime
from tests.integration.conftest import House, eventually

CHAT, VECTORS = "smollm2-135m-instruct", "all-minilm-l6-v2"
QUESTION: list[Any] = [{"role": "user", "content": "Write one sentence about the sea."}]
PARAMETERS = {
    "type": "object",
    "properties": {
        "town": {"type": "string", "enum": ["Ulm", "Paris", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["town", "days"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}


class Note(BaseModel):
    """What a structured answer must be."""

    mood: bool
    stars: int


@dataclass(frozen=True, kw_only=True)
class Served:
    pid: int
    paths: HomePaths
    url: str
    key: str
    openai: openai.OpenAI
    anthropic: anthropic.Anthropic

    def metric(self, name: str) -> float:
        text = httpx2.get(f"{self.url}/metrics", headers={"x-api-key": self.key}, trust_env=False).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One runtime for all tests here. Both models are loaded before the first test counts its processes."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        root = Path(folder)
        options = LaunchOptions(key_file=root / "key", listen="127.0.0.1:0", api_key_file=root / "api.key")
        process = start_runtime(root / "home", options, timeout_s=60)
        paths = HomePaths(root / "home")
        try:
            with RuntimeClient(paths) as client:
                [told] = [check.message for check in client.doctor().checks if check.name == "listener"]
            found = re.search(r"http://127\.0\.0\.1:\d+", told)
            assert found, told
            url, key = found.group(), (root / "api.key").read_text().strip()
            with (
                openai.OpenAI(
                    base_url=f"{url}/v1", api_key=key, max_retries=0,
                    http_client=openai.DefaultHttpxClient(trust_env=False),
                ) as openai_client,
                anthropic.Anthropic(
                    base_url=url, api_key=key, max_retries=0,
                    http_client=anthropic.DefaultHttpxClient(trust_env=False),
                ) as anthropic_client,
            ):  # fmt: skip
                made = Served(
                    pid=process.pid,
                    paths=paths,
                    url=url,
                    key=key,
                    openai=openai_client,
                    anthropic=anthropic_client,
                )
                made.openai.embeddings.create(model=VECTORS, input="warm")
                made.openai.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=1)
                yield made
        finally:
            end_runtime(process)


def test_a_streamed_answer_is_the_whole_one_piece_by_piece(served: Served) -> None:
    ask: dict[str, Any] = {"model": CHAT, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = served.openai.chat.completions.create(**ask, logprobs=True, top_logprobs=2)
    chunks = list(
        served.openai.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    text = whole.choices[0].message.content
    assert text
    assert len(text.split()) > 3
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens <= 24
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in logprobs.content)
    assert (
        bytes(byte for each in logprobs.content for byte in each.bytes or ()).decode().startswith(text[:20])
    )


def test_a_stop_string_ends_the_answer_before_it(served: Served) -> None:
    ask: dict[str, Any] = {"model": CHAT, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    text = served.openai.chat.completions.create(**ask).choices[0].message.content or ""
    stop = text.split()[2]
    cut = served.openai.chat.completions.create(**ask, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == text[: text.index(stop)]


def test_several_choices_are_written_side_by_side(served: Served) -> None:
    answer = served.openai.chat.completions.create(
        model=CHAT, messages=QUESTION, n=3, max_tokens=12, temperature=1, seed=3
    )
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) > 1
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 36


def test_a_required_tool_is_called_with_arguments_that_fit(served: Served) -> None:
    messages = [{"role": "user", "content": "How is the weather in Paris in the next three days?"}]
    answer = served.openai.chat.completions.create(
        model=CHAT,
        messages=messages,  # type: ignore[arg-type]
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=200,
        temperature=0,
    )
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "weather"
    jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)
    talk = [*messages, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    after = served.openai.chat.completions.create(
        model=CHAT, messages=talk, tools=[TOOL], tool_choice="none", max_tokens=20  # type: ignore[arg-type]
    )  # fmt: skip
    assert after.choices[0].message.content


def test_free_text_and_valid_calls_are_all_that_auto_gives(served: Served) -> None:
    for seed in range(3):
        answer = served.openai.chat.completions.create(
            model=CHAT, messages=QUESTION, tools=[TOOL], max_tokens=60, temperature=1, seed=seed
        )
        [choice] = answer.choices
        for call in choice.message.tool_calls or ():
            assert call.type == "function"
            jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)
        assert choice.message.content or choice.message.tool_calls or choice.finish_reason == "length"


def test_anthropics_tools_stream_and_fit(served: Served) -> None:
    with served.anthropic.messages.stream(
        model=CHAT,
        max_tokens=200,
        messages=[{"role": "user", "content": "How is the weather in Oslo?"}],
        tools=[{"name": "weather", "input_schema": PARAMETERS}],  # type: ignore[typeddict-item]
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    ) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert [block.type for block in final.content] == ["tool_use"], final.content
    block = final.content[0]
    assert block.type == "tool_use"
    jsonschema.validate(block.input, PARAMETERS)


def test_answers_are_held_to_a_schema_in_all_three_apis(served: Served) -> None:
    ask = "How do you like the sea?"
    parsed = served.openai.chat.completions.parse(
        model=CHAT, messages=[{"role": "user", "content": ask}], response_format=Note, max_tokens=60
    )
    assert isinstance(parsed.choices[0].message.parsed, Note)
    response = served.openai.responses.parse(model=CHAT, input=ask, text_format=Note, max_output_tokens=60)
    assert isinstance(response.output_parsed, Note)
    schema = {**Note.model_json_schema(), "additionalProperties": False}
    message = served.anthropic.messages.create(
        model=CHAT,
        max_tokens=60,
        messages=[{"role": "user", "content": ask}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert message.content[0].type == "text"
    Note.model_validate_json(message.content[0].text)


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        ({"type": "regex", "pattern": "[A-C]{3}-[0-9]{2}"}, "[A-C]{3}-[0-9]{2}"),
        ({"type": "choice", "options": ["red wine", "white wine"]}, "(red|white) wine"),
        ({"type": "lark", "grammar": 'start: "x" /[0-9]{4}/'}, "x[0-9]{4}"),
    ],
)
def test_answers_are_held_to_a_constraint(served: Served, constraint: Any, pattern: str) -> None:
    answer = served.openai.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=30, temperature=1, extra_body={"constraint": constraint}
    )
    assert answer.choices[0].finish_reason == "stop"
    assert re.fullmatch(pattern, answer.choices[0].message.content or "")


def test_a_prompt_is_continued_and_a_response_streams(served: Served) -> None:
    raw = served.openai.completions.create(model=CHAT, prompt="One, two, three,", max_tokens=8, temperature=0)
    assert raw.choices[0].text
    events = list(
        served.openai.responses.create(model=CHAT, input="Count.", max_output_tokens=8, stream=True)
    )
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == deltas
    assert deltas


def test_vectors_have_unit_length_and_tell_meanings_apart(served: Served) -> None:
    texts = ["A kitten sleeps on the sofa.", "The cat naps on the couch.", "Income tax is due in May."]
    cat, same, tax = (
        each.embedding for each in served.openai.embeddings.create(model=VECTORS, input=texts).data
    )

    def cosine(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert math.sqrt(cosine(cat, cat)) == pytest.approx(1, abs=1e-4)
    assert cosine(cat, same) > cosine(cat, tax) + 0.3


def test_what_a_model_can_not_do_is_a_400_in_each_api(served: Served) -> None:
    chat = served.openai.chat.completions.create
    long = [{"role": "user", "content": "word " * 60_000}]
    with pytest.raises(openai.BadRequestError) as too_long:
        chat(model=CHAT, messages=long)  # type: ignore[arg-type]
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(anthropic.BadRequestError, match="tokens"):
        served.anthropic.messages.create(model=CHAT, max_tokens=5, messages=long)  # type: ignore[arg-type]
    schema = {"type": "string", "not": {"const": "a"}}
    unsupported: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="not"):
        chat(model=CHAT, messages=QUESTION, response_format=unsupported)
    with pytest.raises(openai.BadRequestError):
        chat(model=CHAT, messages=QUESTION, extra_body={"constraint": {"type": "regex", "pattern": "("}})
    with pytest.raises(openai.BadRequestError, match="vector|embedding"):
        chat(model=VECTORS, messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match=f"makes no vectors; ask {VECTORS}"):
        served.openai.embeddings.create(model=CHAT, input="Hm?")
    with pytest.raises(openai.BadRequestError, match="split the text") as long:
        served.openai.embeddings.create(model=VECTORS, input="long " * 2000)
    assert long.value.param == "input"
    with pytest.raises(openai.AuthenticationError):
        served.openai.with_options(api_key="wrong").models.list()


def test_tokens_are_counted_as_the_prompt_is_read(served: Served) -> None:
    talk: dict[str, Any] = {"messages": [{"role": "user", "content": "The sea is wide and deep. " * 40}]}
    tool = {"name": "tide", "description": "Tells the tide.", "input_schema": {"type": "object"}}
    for each in (talk, {**talk, "system": "Be brief."}, {**talk, "tools": [tool]}):
        counted = served.anthropic.messages.count_tokens(model=CHAT, **each).input_tokens
        usage = served.anthropic.messages.create(model=CHAT, max_tokens=1, **each).usage
        assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_a_client_that_leaves_frees_its_place_in_the_batch(served: Served) -> None:
    stream = served.openai.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Count to a million."}],
        max_tokens=7000,
        stream=True,
    )
    for _ in zip(range(4), stream, strict=False):
        pass
    assert served.metric("hearth_answers_total") > 0
    stream.close()
    eventually(
        lambda: served.metric("hearth_requests_running") == 0, timeout_s=10, what="the end of the work"
    )
    assert served.metric('hearth_answers_total{model="SmolLM2 135M Instruct",outcome="cancelled"') >= 1


async def test_many_clients_share_the_engine(served: Served) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{served.url}/v1",
        api_key=served.key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        before = served.metric("hearth_batch_sequences_total"), served.metric("hearth_batches_total")
        asks = [
            client.chat.completions.create(
                model=CHAT, messages=QUESTION, max_tokens=24, extra_headers={"x-hearth-priority": priority}
            )
            for priority in ("normal", "normal", "normal", "background")
        ]
        answers = await asyncio.gather(*asks)
    assert all(answer.choices[0].message.content for answer in answers)

    def shared() -> bool:  # the child tells its counters now and then
        sequences = served.metric("hearth_batch_sequences_total") - before[0]
        return sequences > 1.5 * (served.metric("hearth_batches_total") - before[1]) > 0

    await asyncio.to_thread(eventually, shared, timeout_s=5, what="a batch of several")


def test_the_owners_socket_serves_the_models_without_a_key(served: Served) -> None:
    transport = httpx2.HTTPTransport(uds=str(served.paths.socket))
    with (
        httpx2.Client(transport=transport, trust_env=False) as http,
        openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http) as client,
    ):
        assert [model.id for model in client.models.list()] == [CHAT, VECTORS, "built-in"]
        answer = client.chat.completions.create(model="built-in", messages=QUESTION, max_tokens=4)
        assert answer.choices[0].message.content
        for headers, status in (
            ({"origin": "https://evil.com"}, 403),
            ({"upgrade": "websocket", "connection": "upgrade"}, 403),
        ):
            assert http.get("http://localhost/v1/status", headers=headers).status_code == status
        assert http.post("http://localhost/v1/chat", content="text=hm").status_code == 415


def test_only_the_door_is_open_and_only_on_loopback(served: Served) -> None:
    assert tcp_listeners(served.pid) == {("127.0.0.1", int(served.url.rpartition(":")[2]))}


def test_no_port_is_open_unless_it_was_asked_for(house: House) -> None:
    status = house.start()
    assert tcp_listeners(status.pid) == set()
    [check] = [check for check in house.client.doctor().checks if check.name == "listener"]
    assert check.message.startswith("No network port is open")


def tcp_listeners(pid: int) -> set[tuple[str, int]]:
    """Of the runtime and all its children."""
    runtime = psutil.Process(pid)
    deadline = time.monotonic() + 10
    while len(family := [runtime, *runtime.children(recursive=True)]) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    connections = [each for process in family for each in process.net_connections("inet")]
    assert all(
        each.status in (psutil.CONN_LISTEN, psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT)
        for each in connections
    )
    return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}
