"""The scripted engine behaves like an engine where it matters to its users."""

import asyncio
import base64

import pytest

from engine.core import Delta, Finished, FinishReason, Restarted, StreamEvent, ToolCall, ToolCalled
from engine.errors import EngineDied, EngineStopped
from engine.fakes import Reply, ScriptedEngine
from engine.status import EngineState, EngineStatus
from engine.supervisor import Engine
from tests.engine.support import request


async def collect(engine: Engine, text: str = "hello", **fields: object) -> list[StreamEvent]:
    return [event async for event in engine.stream(request(text, **fields))]  # type: ignore[arg-type]


async def test_a_list_is_answered_in_order_and_requests_are_recorded() -> None:
    engine = ScriptedEngine(["first answer", "second"])
    await engine.start()
    for expected in ("first answer", "second"):
        events = await collect(engine, expected)
        last = events[-1]
        assert isinstance(last, Finished)
        assert last.text == expected
        assert "".join(event.text for event in events if isinstance(event, Delta)) == expected
    assert [seen.messages[0].content for seen in engine.requests] == ["first answer", "second"]
    with pytest.raises(EngineStopped, match="no answer left"):
        await collect(engine)


async def test_a_function_answers_by_the_request() -> None:
    engine = ScriptedEngine(lambda asked: asked.messages[-1].content.upper())
    last = (await collect(engine, "hello there"))[-1]
    assert isinstance(last, Finished)
    assert last.text == "HELLO THERE"


async def test_errors_and_restarts_can_be_scripted() -> None:
    engine = ScriptedEngine([EngineDied("It ended twice."), Restarted(reason="killed by SIGSEGV"), "ok"])
    with pytest.raises(EngineDied):
        await collect(engine)
    events = await collect(engine)
    assert any(isinstance(event, Restarted) for event in events)


async def test_max_tokens_cuts() -> None:
    last = (await collect(ScriptedEngine(["one two three"]), max_tokens=2))[-1]
    assert isinstance(last, Finished)
    assert (last.text, last.finish_reason) == ("one two", FinishReason.LENGTH)


async def test_closing_a_stream_is_recorded_and_frees_the_engine() -> None:
    engine = ScriptedEngine(["a b c", "next"])
    stream = engine.stream(request())
    async for event in stream:
        if isinstance(event, Delta):
            break
    await stream.aclose()  # type: ignore[attr-defined]
    assert engine.cancelled == ["r1"]
    assert isinstance((await collect(engine))[-1], Finished)


async def test_requests_take_turns_and_the_status_tells() -> None:
    engine = ScriptedEngine(lambda asked: "x y", delay_s=0.001)
    seen: list[EngineStatus] = []
    unsubscribe = engine.subscribe(seen.append)
    await asyncio.gather(collect(engine), collect(engine))
    assert [status.state for status in seen] == [EngineState.BUSY, EngineState.READY] * 2
    unsubscribe()
    await engine.stop()
    assert engine.status.state is EngineState.STOPPED
    assert len(seen) == 4


async def test_tokens_are_counted_roughly() -> None:
    assert await ScriptedEngine([]).count_tokens(["", "abcd", "abcde"]) == [0, 1, 2]


async def test_tool_calls_come_after_the_text_and_log_probabilities_where_they_are_asked_for() -> None:
    call = ToolCall(id="call-1", name="look", arguments="{}")
    engine = ScriptedEngine([Reply(text="let me", calls=(call,)), "one two"])
    events = await collect(engine)
    assert events[-2] == ToolCalled(call=call)
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.finish_reason, last.tool_calls) == (FinishReason.TOOL_CALLS, (call,))
    [first, _] = [event for event in await collect(engine, top_logprobs=2) if isinstance(event, Delta)]
    [logprob] = first.logprobs
    assert base64.b64decode(logprob.chosen.data) == b"one"
    assert len(logprob.top) == 2
