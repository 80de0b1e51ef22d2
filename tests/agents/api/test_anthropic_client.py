"""The official Anthropic client against the door, with a scripted engine: shapes, streams, tools and errors."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from engine.core import JsonSchema, Priority, Request, ToolCall, ToolChoice
from engine.errors import EngineStopped, PromptTooLong
from engine.fakes import Reply, ScriptedEngine
from tests.agents.api.doors import MODEL, door_for

QUESTION: list[Any] = [{"role": "user", "content": "What is a hearth?"}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a town.",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}},
}
CALL = ToolCall(id="call-1", name="weather", arguments='{"town":"Ulm"}')


async def test_a_stop_sequence_is_named_whole_and_streamed() -> None:
    asks: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": QUESTION, "stop_sequences": ["END"]}
    async with door_for(ScriptedEngine(["A fire place. END of it."] * 2)) as door:
        answer = await door.anthropic.messages.create(**asks)
        async with door.anthropic.messages.stream(**asks) as stream:
            streamed = await stream.get_final_message()
    for message in (answer, streamed):
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
        assert message.content[0].text == "A fire place. "


async def test_a_message_is_answered_with_its_usage() -> None:
    async with door_for(ScriptedEngine(["A fire place."])) as door:
        answer = await door.anthropic.messages.create(
            model=MODEL,
            max_tokens=50,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            messages=QUESTION,
            stop_sequences=["END"],
            metadata={"user_id": "me"},
            extra_body={"temperature": 0, "top_p": 0.5, "seed": 5, "top_k": 3},
            extra_headers={"x-hearth-priority": "background", "x-hearth-agent": "Editor"},
        )
        asked = door.asked
    [block] = answer.content
    assert (block.type, block.text) == ("text", "A fire place.")
    assert (answer.stop_reason, answer.model) == ("end_turn", MODEL)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (8, 3)
    assert [message.role for message in asked.messages] == ["system", "user"]
    assert (asked.sampling.max_tokens, asked.sampling.stop, asked.sampling.seed) == (50, ("END",), 5)
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.top_k) == (0, 0.5, 3)
    assert asked.priority is Priority.BACKGROUND
    assert asked.prefix.name == "api-Editor"


async def test_a_stream_is_put_together_by_the_client() -> None:
    asked = {"model": MODEL, "max_tokens": 50, "messages": QUESTION, "tools": [WEATHER]}
    async with (
        door_for(ScriptedEngine([Reply(text="Let me see.", calls=(CALL,))])) as door,
        door.anthropic.messages.stream(**asked) as stream,  # type: ignore[arg-type]
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    text, call = final.content
    assert (text.type, text.text) == ("text", "Let me see.")
    assert (call.type, call.id, call.name, call.input) == ("tool_use", "call-1", "weather", {"town": "Ulm"})
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (5, 3)


async def test_the_events_of_a_stream_have_their_names_and_order() -> None:
    async with door_for(ScriptedEngine(["One two"])) as door:
        body = {"model": MODEL, "max_tokens": 9, "messages": QUESTION, "stream": True}
        response = await door.http.post("/v1/messages", json=body)
    names = [
        line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event: ")
    ]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, (ToolChoice.AUTO, None, False)),
        ({"type": "any"}, (ToolChoice.REQUIRED, None, True)),
        ({"type": "none"}, (ToolChoice.NONE, None, True)),
        ({"type": "tool", "name": "weather"}, (ToolChoice.REQUIRED, "weather", True)),
    ],
)
async def test_the_tool_choice_reaches_the_engine(choice: Any, expected: object) -> None:
    async with door_for(ScriptedEngine([Reply(calls=(CALL,))])) as door:
        answer = await door.anthropic.messages.create(
            model=MODEL, max_tokens=50, messages=QUESTION, tools=[WEATHER], tool_choice=choice
        )
        asked = door.asked
    assert [block.type for block in answer.content] == ["tool_use"]
    assert (asked.tool_choice, asked.tool_name, asked.parallel_tool_calls) == expected


async def test_a_talk_with_tool_results_reaches_the_engine_as_turns() -> None:
    async with door_for(ScriptedEngine([Reply(text="I look.", calls=(CALL,)), "It rains."])) as door:
        first = await door.anthropic.messages.create(
            model=MODEL, max_tokens=50, messages=QUESTION, tools=[WEATHER]
        )
        talk: list[Any] = [
            *QUESTION,
            {"role": "user", "content": "In Ulm."},
            {"role": "assistant", "content": first.content},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call-1",
                        "content": [{"type": "text", "text": "no station"}],
                        "is_error": True,
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ]
        await door.anthropic.messages.create(model=MODEL, max_tokens=50, messages=talk, tools=[WEATHER])
        _, again = door.engine.requests
    user, assistant, result, question = again.messages
    assert (user.role, user.content) == ("user", "What is a hearth?\n\nIn Ulm.")
    assert (assistant.content, assistant.tool_calls) == ("I look.", (CALL,))
    assert (result.role, result.tool_call_id, result.content) == ("tool", "call-1", "Error: no station")
    assert (question.role, question.content) == ("user", "And now?")


async def test_an_answer_can_be_held_to_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    async with door_for(ScriptedEngine(["{}"])) as door:
        await door.anthropic.messages.create(
            model=MODEL,
            max_tokens=50,
            messages=QUESTION,
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
        assert door.asked.constraint == JsonSchema(schema=schema)


class NotingEngine(ScriptedEngine):
    """Keeps the request whose prompt was counted."""

    counted: Request

    async def count_prompt(self, request: Request) -> int:
        self.counted = request
        return await super().count_prompt(request)


async def test_the_size_of_a_message_is_that_of_the_prompt_which_it_would_have() -> None:
    engine = NotingEngine(["Yes."])
    talk: Any = {"messages": QUESTION, "system": "Be brief. " * 20, "tools": [WEATHER]}
    async with door_for(engine) as door:
        counted = await door.anthropic.messages.count_tokens(model=MODEL, **talk)
        assert door.engine.requests == []
        answer = await door.anthropic.messages.create(model=MODEL, max_tokens=5, **talk)
        asked = door.asked
    assert counted.input_tokens == answer.usage.input_tokens > 50
    assert (engine.counted.messages, engine.counted.tools) == (asked.messages, asked.tools)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "A"}]}, "can't be begun"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
                            }
                        ],
                    }
                ]
            },
            "reads text only",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "a", "input": {}}]}]},
         "can't stand in a turn of the user"),
        ({"tools": [WEATHER, WEATHER]}, "same name"),
    ],
)  # fmt: skip
async def test_what_can_not_be_served_is_an_error_of_the_api(changes: Any, words: str) -> None:
    call: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": QUESTION, **changes}
    async with door_for(ScriptedEngine([])) as door:
        with pytest.raises(anthropic.BadRequestError) as raised:
            await door.anthropic.messages.create(**call)
    assert raised.value.body["type"] == "error"  # type: ignore[index, call-overload]
    assert raised.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index, call-overload]
    assert words in raised.value.body["error"]["message"]  # type: ignore[index, call-overload]


async def test_errors_have_the_types_of_the_api() -> None:
    async with door_for(
        ScriptedEngine([PromptTooLong(9000, 8192), EngineStopped("It was stopped.")])
    ) as door:
        ask = door.anthropic.messages.create
        with pytest.raises(anthropic.BadRequestError, match="9,000 tokens"):
            await ask(model=MODEL, max_tokens=50, messages=QUESTION)
        with pytest.raises(anthropic.InternalServerError, match="stopped") as stopped:
            await ask(model=MODEL, max_tokens=50, messages=QUESTION)
        with pytest.raises(anthropic.NotFoundError, match="no model 'claude'"):
            await ask(model="claude", max_tokens=50, messages=QUESTION)
        with pytest.raises(anthropic.AuthenticationError):
            await door.anthropic.with_options(api_key="wrong").messages.create(
                model=MODEL, max_tokens=50, messages=QUESTION
            )
        unknown = await door.http.get("/v1/messages/batches")
    assert stopped.value.status_code == 503
    assert unknown.status_code == 404
    assert unknown.json()["error"]["type"] == "not_found_error"


async def test_a_failure_in_the_middle_of_a_stream_is_an_event() -> None:
    engine = ScriptedEngine(["word " * 100], delay_s=0.02)
    async with door_for(engine) as door:
        ask = door.anthropic.messages.stream

        async def read() -> None:
            async with ask(model=MODEL, max_tokens=900, messages=QUESTION) as stream:
                async for _ in stream.text_stream:
                    await engine.stop()

        with pytest.raises(anthropic.APIStatusError, match="stopped before the answer was done"):
            await read()
