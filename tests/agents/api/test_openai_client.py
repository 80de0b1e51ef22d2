"""The official OpenAI client against the door, with a scripted engine: shapes, streams, tools and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from engine.core import Choice, Embeddings, JsonSchema, Lark, Priority, Regex, ToolCall, ToolChoice
from engine.errors import (
    EngineDied,
    EngineStopped,
    ModelSetAside,
    PromptTooLong,
    RequestInvalid,
    SchemaUnsupported,
)
from engine.fakes import Reply, ScriptedEngine
from engine.status import EngineState
from tests.agents.api.doors import EMBEDDER, MODEL, door_for

QUESTION = [{"role": "user", "content": "What is a hearth?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
CALL = ToolCall(id="call-1", name="weather", arguments='{"town":"Ulm"}')


async def test_a_chat_is_answered_with_its_usage() -> None:
    async with door_for(ScriptedEngine(["A fire place."])) as door:
        answer = await door.openai.chat.completions.create(
            model=MODEL,
            messages=[{"role": "system", "content": "Be brief."}, *QUESTION],
            temperature=0,
            top_p=0.5,
            max_completion_tokens=50,
            stop=["END"],
            seed=7,
            logit_bias={"3": -100},
            presence_penalty=0.5,
            user="me",
            extra_body={"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.1},
            extra_headers={"x-hearth-priority": "interactive", "x-hearth-agent": "My editor"},
        )
        asked = door.asked
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("A fire place.", "stop")
    assert answer.model == MODEL
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens == 11
    assert [message.role for message in asked.messages] == ["system", "user"]
    sampling = asked.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 0.5, 5, 0.1)
    assert (sampling.max_tokens, sampling.stop, sampling.seed) == (50, ("END",), 7)
    assert (sampling.logit_bias, sampling.repeat_penalty) == ({3: -100.0}, 1.1)
    assert asked.priority is Priority.INTERACTIVE
    assert (asked.prefix.name, asked.prefix.n_messages) == ("api-My editor", 1)


async def test_a_stream_brings_the_words_one_by_one_and_the_usage_last() -> None:
    async with door_for(ScriptedEngine(["A fire place."])) as door:
        stream = await door.openai.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert texts == ["", "A", " fire", " place.", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_a_stream_ends_with_done_and_is_no_page_for_a_cache() -> None:
    async with door_for(ScriptedEngine(["Yes."])) as door:
        response = await door.http.post(
            "/v1/chat/completions", json={"model": MODEL, "messages": QUESTION, "stream": True}
        )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.text.endswith("data: [DONE]\n\n")


async def test_an_answer_is_guessed_ahead_unless_the_caller_gave_a_seed() -> None:
    async with door_for(ScriptedEngine(["yes"] * 8)) as door:
        for seed in (None, 7):
            await door.openai.chat.completions.create(model=MODEL, messages=QUESTION, n=2, seed=seed)
            await door.openai.responses.create(model=MODEL, input="hi", extra_body={"seed": seed})
            await door.anthropic.messages.create(
                model=MODEL, max_tokens=9, messages=QUESTION, extra_body={"seed": seed}
            )
        asked = door.engine.requests
    assert [request.speculate for request in asked] == [True] * 4 + [False] * 4
    assert all(request.sampling.seed is not None for request in asked)


async def test_several_choices_have_seeds_in_a_row_and_the_prompt_counts_once() -> None:
    async with door_for(ScriptedEngine(["one", "two two", "three"])) as door:
        answer = await door.openai.chat.completions.create(model=MODEL, messages=QUESTION, n=3, seed=40)
        seeds = {request.sampling.seed for request in door.engine.requests}
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"one", "two two", "three"}
    assert seeds == {40, 41, 42}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 4)


async def test_when_one_choice_fails_the_others_are_aborted() -> None:
    engine = ScriptedEngine([EngineDied("The engine ended twice."), "never", "never"], delay_s=5)
    async with door_for(engine) as door:
        async with asyncio.timeout(3):
            with pytest.raises(openai.InternalServerError, match="ended twice"):
                await door.openai.chat.completions.create(model=MODEL, messages=QUESTION, n=3)
        begun = [request.id for request in engine.requests[1:]]
        assert set(engine.cancelled) <= set(begun)
        assert engine.cancelled  # the one that had begun to write
        assert engine.status.state is EngineState.READY


async def test_tools_are_offered_called_and_answered() -> None:
    engine = ScriptedEngine([Reply(text="Let me see.", calls=(CALL,)), "It rains."])
    async with door_for(engine) as door:
        first = await door.openai.chat.completions.create(
            model=MODEL, messages=QUESTION, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False
        )
        message = first.choices[0].message
        assert message.tool_calls is not None
        [call] = message.tool_calls
        talk = [
            *QUESTION,
            message,  # exactly as it came
            {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "rain"}]},
        ]
        second = await door.openai.chat.completions.create(model=MODEL, messages=talk, tools=[WEATHER])
        asked, again = door.engine.requests
    assert first.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"town": "Ulm"})
    assert (asked.tool_choice, asked.parallel_tool_calls) == (ToolChoice.AUTO, False)
    assert asked.tools[0].parameters["required"] == ["town"]
    assert second.choices[0].message.content == "It rains."
    _, answered, result = again.messages
    assert (answered.role, answered.tool_calls, answered.content) == ("assistant", (CALL,), "Let me see.")
    assert (result.role, result.tool_call_id, result.content) == ("tool", "call-1", "rain")


@pytest.mark.parametrize(
    ("tool_choice", "expected"),
    [
        ("required", (ToolChoice.REQUIRED, None)),
        ("none", (ToolChoice.NONE, None)),
        ({"type": "function", "function": {"name": "weather"}}, (ToolChoice.REQUIRED, "weather")),
    ],
)
async def test_a_streamed_tool_call_is_one_piece(tool_choice: Any, expected: object) -> None:
    async with door_for(ScriptedEngine([Reply(calls=(CALL,))])) as door:
        stream = await door.openai.chat.completions.create(
            model=MODEL, messages=QUESTION, tools=[WEATHER], tool_choice=tool_choice, stream=True
        )
        chunks = [chunk async for chunk in stream]
        asked = door.asked
    [call] = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert (call.index, call.id, call.function.arguments) == (0, "call-1", '{"town":"Ulm"}')
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert (asked.tool_choice, asked.tool_name) == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, JsonSchema(schema={"type": "object"})),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "null"}},
                }
            },
            JsonSchema(schema={"type": "null"}),
        ),
        ({"extra_body": {"constraint": {"type": "regex", "pattern": "a+"}}}, Regex(pattern="a+")),
        ({"extra_body": {"constraint": {"type": "lark", "grammar": "s: X"}}}, Lark(grammar="s: X")),
        (
            {"extra_body": {"constraint": {"type": "choice", "options": ["a", "b"]}}},
            Choice(options=("a", "b")),
        ),
    ],
)
async def test_an_answer_can_be_held_to_a_form(extra: Any, expected: object) -> None:
    async with door_for(ScriptedEngine(["{}"])) as door:
        await door.openai.chat.completions.create(model=MODEL, messages=QUESTION, **extra)
        assert door.asked.constraint == expected


async def test_log_probabilities_come_whole_and_streamed() -> None:
    async with door_for(ScriptedEngine(["é b", "é b", "c"])) as door:
        whole = await door.openai.chat.completions.create(
            model=MODEL, messages=QUESTION, logprobs=True, top_logprobs=2
        )
        stream = await door.openai.chat.completions.create(
            model=MODEL, messages=QUESTION, logprobs=True, top_logprobs=2, stream=True
        )
        chunks = [chunk async for chunk in stream]
        plain = await door.openai.chat.completions.create(model=MODEL, messages=QUESTION)
    assert whole.choices[0].logprobs is not None
    content = whole.choices[0].logprobs.content
    assert content is not None
    assert [each.token for each in content] == ["é", " b"]
    assert content[0].bytes == list("é".encode())
    assert [len(each.top_logprobs) for each in content] == [2, 2]
    streamed = [
        each for chunk in chunks for lp in [chunk.choices[0].logprobs] if lp for each in lp.content or ()
    ]
    assert streamed == content
    assert plain.choices[0].logprobs is None


async def test_prompts_are_completed() -> None:
    async with door_for(ScriptedEngine([" upon a time", " more", " there was", " x"])) as door:
        whole = await door.openai.completions.create(
            model=MODEL, prompt=["Once", "And"], max_tokens=10, echo=True, temperature=0
        )
        with_logprobs = await door.openai.completions.create(model=MODEL, prompt="Once", logprobs=1)
        stream = await door.openai.completions.create(
            model=MODEL, prompt="Once", stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        first = door.engine.requests[0]
    assert {choice.text for choice in whole.choices} == {"Once upon a time", "And more"}
    assert (first.prompt, first.messages) == ("Once", ())
    logprobs = with_logprobs.choices[0].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.text_offset) == ([" there", " was"], [0, 6])
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == " x"
    assert chunks[-1].usage is not None


async def test_embeddings_come_as_numbers_and_in_base64() -> None:
    async with door_for(ScriptedEngine([])) as door:
        plain = await door.openai.embeddings.create(
            model=EMBEDDER, input=["one", "two"], encoding_format="float"
        )
        packed = await door.openai.embeddings.create(model=EMBEDDER, input=["one", "two"])
        with pytest.raises(openai.BadRequestError, match="4 dimensions"):
            await door.openai.embeddings.create(model=EMBEDDER, input="one", dimensions=3)
        with pytest.raises(openai.BadRequestError, match="empty"):
            await door.openai.embeddings.create(model=EMBEDDER, input=["one", ""])
    assert [each.index for each in plain.data] == [0, 1]
    assert sum(number**2 for number in plain.data[0].embedding) == pytest.approx(1)
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding)
    assert plain.usage.prompt_tokens == 2


async def test_the_models_at_hand_are_listed() -> None:
    async with door_for(ScriptedEngine([])) as door:
        listed = [model.id async for model in door.openai.models.list()]
        one = await door.openai.models.retrieve(EMBEDDER)
        alias = await door.openai.models.retrieve("built-in")
        with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'"):
            await door.openai.models.retrieve("gpt-4")
    assert listed == [MODEL, EMBEDDER, "built-in"]
    assert (one.id, alias.id) == (EMBEDDER, "built-in")


class Writer(ScriptedEngine):
    """Makes no vectors, and says so in its own words."""

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        raise RequestInvalid("This model writes.")


async def test_a_model_that_makes_no_vectors_names_the_one_that_does() -> None:
    async with door_for(Writer([])) as door:
        with pytest.raises(openai.BadRequestError, match=f"makes no vectors; ask {EMBEDDER}") as refused:
            await door.openai.embeddings.create(model=MODEL, input="one")
    assert refused.value.param == "model"


class Narrow(ScriptedEngine):
    """Takes short texts alone."""

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        raise PromptTooLong(600, 512, text_number=1)


async def test_a_text_that_is_too_long_for_a_vector_is_in_the_field_that_holds_it() -> None:
    async with door_for(Narrow([])) as door:
        with pytest.raises(openai.BadRequestError, match="Text 1 has 600 tokens") as refused:
            await door.openai.embeddings.create(model=EMBEDDER, input="one")
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")


@pytest.mark.parametrize(
    ("error", "kind", "code", "words"),
    [
        (PromptTooLong(9000, 8192), openai.BadRequestError, "context_length_exceeded", "9,000 tokens"),
        (SchemaUnsupported("not"), openai.BadRequestError, "schema_unsupported", "not"),
        (
            ModelSetAside("It is set aside; try it again."),
            openai.InternalServerError,
            "model_set_aside",
            "set aside",
        ),
        (EngineStopped("The engine was stopped."), openai.InternalServerError, "engine_stopped", "stopped"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_engine_refuses_at_once_is_a_status(
    error: Exception, kind: type[openai.APIStatusError], code: str, words: str, stream: bool
) -> None:
    async with door_for(ScriptedEngine([error])) as door:  # type: ignore[list-item]
        with pytest.raises(kind, match=words) as raised:
            await door.openai.chat.completions.create(model=MODEL, messages=QUESTION, stream=stream)
    assert raised.value.code == code
    assert raised.value.status_code == (400 if kind is openai.BadRequestError else 503)


async def test_a_prompt_that_is_too_long_is_in_the_field_that_holds_it() -> None:
    async with door_for(ScriptedEngine([PromptTooLong(9000, 8192)] * 3)) as door:
        asks = {
            "messages": lambda: door.openai.chat.completions.create(model=MODEL, messages=QUESTION),
            "prompt": lambda: door.openai.completions.create(model=MODEL, prompt="Once"),
            "input": lambda: door.openai.responses.create(model=MODEL, input="Once"),
        }
        for field, ask in asks.items():
            with pytest.raises(openai.BadRequestError, match="9,000 tokens") as refused:
                await ask()
            assert refused.value.param == field


async def test_a_failure_in_the_middle_of_a_stream_is_an_event() -> None:
    engine = ScriptedEngine(["word " * 100], delay_s=0.02)
    async with door_for(engine) as door:
        stream = await door.openai.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)

        async def read() -> None:
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    await engine.stop()

        with pytest.raises(openai.APIError, match="stopped before the answer was done"):
            await read()


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_goes_on_for_a_client_that_went_away(stream: bool) -> None:
    engine = ScriptedEngine(["word " * 1000], delay_s=0.02)
    async with door_for(engine) as door:
        asking = asyncio.create_task(
            door.http.post(
                "/v1/chat/completions", json={"model": MODEL, "messages": QUESTION, "stream": stream}
            )
        )
        async with asyncio.timeout(5):
            while not engine.requests:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            while engine.cancelled != [engine.requests[0].id]:
                await asyncio.sleep(0.01)


async def test_a_long_wait_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.api import answering

    monkeypatch.setattr(answering, "KEEP_ALIVE_S", 0.05)
    async with door_for(ScriptedEngine(["word"], delay_s=0.3)) as door:
        response = await door.http.post(
            "/v1/chat/completions", json={"model": MODEL, "messages": QUESTION, "stream": True}
        )
    assert ": still working\n\n" in response.text
    assert response.text.endswith("data: [DONE]\n\n")


async def test_a_response_is_answered() -> None:
    async with door_for(ScriptedEngine(["A fire place."])) as door:
        answer = await door.openai.responses.create(
            model=MODEL,
            instructions="Be brief.",
            input="What is a hearth?",
            max_output_tokens=40,
            temperature=0,
        )
        asked = door.asked
    assert (answer.output_text, answer.status, answer.store) == ("A fire place.", "completed", False)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 3
    assert [message.role for message in asked.messages] == ["system", "user"]
    assert asked.sampling.max_tokens == 40


async def test_a_response_that_the_limit_cut_is_incomplete() -> None:
    async with door_for(ScriptedEngine(["one two three", "one two three"])) as door:
        whole = await door.openai.responses.create(model=MODEL, input="Count.", max_output_tokens=2)
        stream = await door.openai.responses.create(
            model=MODEL, input="Count.", max_output_tokens=2, stream=True
        )
        events = [event async for event in stream]
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert events[-1].type == "response.incomplete"


async def test_a_response_streams_typed_events_in_order() -> None:
    async with door_for(ScriptedEngine([Reply(text="Let me see.", calls=(CALL,))])) as door:
        tool = {"type": "function", **WEATHER["function"], "strict": True}
        async with door.openai.responses.stream(model=MODEL, input="Weather?", tools=[tool]) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == "Let me see."
    assert [item.type for item in final.output] == ["message", "function_call"]
    assert final.output[1].arguments == '{"town":"Ulm"}'


async def test_a_talk_with_tool_results_is_sent_as_items() -> None:
    async with door_for(ScriptedEngine([Reply(text="I look.", calls=(CALL,)), "It rains."])) as door:
        tool = {"type": "function", **WEATHER["function"], "strict": True}
        first = await door.openai.responses.create(model=MODEL, input="Weather?", tools=[tool])
        items: list[Any] = [{"role": "user", "content": "Weather?"}, *first.output]
        items.append({"type": "function_call_output", "call_id": "call-1", "output": "rain"})
        second = await door.openai.responses.create(model=MODEL, input=items, tools=[tool])
        _, again = door.engine.requests
    assert second.output_text == "It rains."
    user, assistant, result = again.messages
    assert user.role == "user"
    assert (assistant.content, assistant.tool_calls) == ("I look.", (CALL,))
    assert (result.role, result.content) == ("tool", "rain")


@pytest.mark.parametrize(
    ("field", "value"),
    [("store", True), ("previous_response_id", "resp_1"), ("conversation", "c1")],
)
async def test_what_needs_a_store_of_responses_is_refused_clearly(field: str, value: object) -> None:
    async with door_for(ScriptedEngine([])) as door:
        with pytest.raises(openai.BadRequestError, match="keeps no responses") as raised:
            await door.openai.responses.create(model=MODEL, input="Hm?", **{field: value})  # type: ignore[arg-type]
    assert raised.value.param == field


async def test_a_response_that_fails_in_the_middle_says_so() -> None:
    engine = ScriptedEngine(["word " * 100], delay_s=0.02)
    async with door_for(engine) as door:
        stream = await door.openai.responses.create(model=MODEL, input="Hm?", stream=True)
        last: Any = None
        async for event in stream:
            last = event
            if event.type == "response.output_text.delta":
                await engine.stop()
    assert last.type == "response.failed"
    assert "stopped" in last.response.error.message
