"""A supervised child with a fake model: streams, counts, the line, and who leaves it."""

import asyncio
import itertools
from pathlib import Path

import pytest

from engine.core import Delta, Prefill, Priority
from engine.errors import (
    EngineBusy,
    EngineError,
    EngineStopped,
    PromptTooLong,
    RequestInvalid,
)
from engine.model import ModelSpec, PowerLimits
from engine.status import EngineState
from tests.engine.supervisor.asking import Make, answer, collect, first_delta
from tests.engine.support import request
from tests.processes import has_ended


async def test_a_request_streams_and_the_status_follows(make: Make) -> None:
    engine = make()
    states: list[EngineState] = []
    engine.subscribe(lambda status: states.append(status.state))
    await engine.start()
    events = await collect(engine, request("hello €"))
    assert answer(events) == "hello €"
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "hello €"
    assert isinstance(events[0], Prefill)
    assert engine.status.state is EngineState.READY
    assert engine.status.n_ctx == 4096
    assert engine.status.tokens_per_s is not None
    assert engine.status.notice is None
    pid = engine.status.pid
    assert pid is not None
    await engine.stop()
    assert engine.status.state is EngineState.STOPPED
    assert engine.status.pid is None
    assert has_ended(pid)
    assert list(dict.fromkeys(states)) == [
        EngineState.STARTING,
        EngineState.SELF_TEST,
        EngineState.READY,
        EngineState.BUSY,
        EngineState.STOPPED,
    ]


async def test_a_stream_starts_the_child_by_itself_and_start_is_idempotent(make: Make) -> None:
    engine = make()
    assert answer(await collect(engine, request("hi"))) == "hi"
    pid = engine.status.pid
    await engine.start()
    await engine.start()
    assert engine.status.pid == pid


async def test_tokens_are_counted_also_while_a_request_runs(make: Make) -> None:
    engine = make()
    stream = engine.stream(request("x" * 40))
    await first_delta(stream)
    assert await engine.count_tokens(["abc", ""]) == [3, 0]
    assert await engine.count_prompt(request("x" * 40)) == 40
    assert [event async for event in stream][-1]


async def test_a_person_passes_waiting_background_work(make: Make) -> None:
    engine = make()
    order: list[str] = []

    async def ask(name: str, priority: Priority) -> None:
        await collect(engine, request(name * 5, request_id=name, priority=priority))
        order.append(name)

    await engine.start()
    running = engine.stream(request("z" * 20, request_id="z"))
    await first_delta(running)
    tasks = [
        asyncio.create_task(ask("a", Priority.BACKGROUND)),
        asyncio.create_task(ask("b", Priority.BACKGROUND)),
        asyncio.create_task(ask("c", Priority.NORMAL)),
        asyncio.create_task(ask("d", Priority.INTERACTIVE)),
    ]
    async for _ in running:
        pass
    await asyncio.gather(*tasks)
    assert order == ["d", "c", "a", "b"]


async def test_closing_a_stream_aborts_its_work_and_frees_the_child(make: Make) -> None:
    engine = make()
    stream = engine.stream(request("x" * 2000))
    await first_delta(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        assert answer(await collect(engine, request("next"))) == "next"
    assert engine.status.deaths == 0


async def test_cancelling_the_task_of_a_queued_request_drops_it(make: Make) -> None:
    engine = make()
    running = engine.stream(request("x" * 30, request_id="running"))
    await first_delta(running)
    queued = asyncio.create_task(collect(engine, request("y" * 2000, request_id="queued")))
    await asyncio.sleep(0.05)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    assert answer([event async for event in running]) == "x" * 30
    async with asyncio.timeout(5):
        assert answer(await collect(engine, request("next"))) == "next"


async def test_a_request_whose_caller_left_while_the_engine_started_is_never_worked_on(make: Make) -> None:
    engine = make()
    states: list[EngineState] = []
    engine.subscribe(lambda status: states.append(status.state))
    left = asyncio.create_task(collect(engine, request("y" * 4000, request_id="left")))
    async with asyncio.timeout(10):
        while EngineState.STARTING not in states:
            await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        await engine.start()
        assert answer(await collect(engine, request("next"))) == "next"
    assert [key for key, _ in itertools.groupby(states)].count(EngineState.BUSY) == 1


async def test_a_reader_that_does_not_read_holds_nobody_up(make: Make) -> None:
    engine = make()
    lazy = engine.stream(request("lazy " * 20))
    await anext(lazy)
    async with asyncio.timeout(20):
        assert answer(await collect(engine, request("quick"))) == "quick"
        events = [event async for event in lazy]
    assert answer(events) == "lazy " * 20


async def test_more_requests_than_the_engine_takes_are_refused_and_the_others_are_served_as_before(
    make: Make,
) -> None:
    engine = make(env={"ENGINE_FAULT": "hang@load"})
    tasks = [asyncio.create_task(collect(engine, request("x"))) for _ in range(1024)]
    await asyncio.sleep(0.01)
    with pytest.raises(EngineBusy, match="try again in a moment"):
        await collect(engine, request("one too many"))
    assert engine.status.waiting == 1024
    await engine.stop(timeout_s=1.0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {EngineStopped}


async def test_limits_are_passed_on_also_to_later_children_and_embedding_a_chat_model_is_refused(
    make: Make,
) -> None:
    engine = make()
    engine.set_limits(PowerLimits(max_threads=1, background=True))
    assert answer(await collect(engine, request("hi"))) == "hi"
    engine.set_limits(PowerLimits())
    with pytest.raises(EngineError, match="choose"):
        await engine.embed(["text"])
    assert answer(await collect(engine, request("on"))) == "on"
    assert engine.status.deaths == 0


async def test_the_request_s_own_error_reaches_its_caller(make: Make) -> None:
    engine = make(model=None)
    with pytest.raises(PromptTooLong) as caught:
        await collect(engine, request("x" * 5000))
    assert (caught.value.prompt_tokens, caught.value.n_ctx) == (5000, 4096)
    assert answer(await collect(engine, request("ok"))) == "ok"


async def test_a_listener_that_fails_does_not_harm_the_engine(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()

    def broken(_status: object) -> None:
        raise ValueError("a bug in the listener")

    unsubscribe = engine.subscribe(broken)
    await engine.start()
    unsubscribe()
    unsubscribe()
    assert answer(await collect(engine, request("ok"))) == "ok"
    assert "a listener of the engine's status failed" in caplog.text


async def test_nothing_private_is_logged(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="engine")
    engine = make(env={"ENGINE_FAULT": "noise@token:3"})
    assert answer(await collect(engine, request("private-text"))) == "private-text"
    await engine.stop()
    log = (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert "noise from native code" in log
    assert "private-text" not in log + caplog.text


async def test_every_refusal_is_an_engine_error_of_one_sentence(make: Make, tmp_path: Path) -> None:
    engine = make(model=ModelSpec(path=tmp_path, name="folder"))
    with pytest.raises(EngineError) as caught:
        await engine.start()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


async def test_text_that_can_not_be_sent_is_counted_or_refused(make: Make) -> None:
    engine = make()
    assert await engine.count_tokens(["a\ud800"]) == [2]
    with pytest.raises(RequestInvalid, match="split the text"):
        await engine.count_tokens(["x" * 4_000_001])
