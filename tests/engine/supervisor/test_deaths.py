"""A supervised child that dies, hangs or talks nonsense: what is repeated, what fails, and what is set aside."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.core import Delta, Priority, Restarted, StreamEvent
from engine.errors import (
    EngineDied,
    ModelSetAside,
)
from engine.host.child_process import ChildLimits
from engine.host.restarts import RestartPolicy
from engine.model import PowerLimits
from engine.status import EngineState
from tests.engine.supervisor.asking import Make, answer, collect
from tests.engine.support import request


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_death_in_the_middle_repeats_the_request_once(make: Make, number: signal.Signals) -> None:
    engine = make()
    events: list[StreamEvent] = []
    killed = False
    async for event in engine.stream(request("hello world")):
        events.append(event)
        if isinstance(event, Delta) and not killed:
            killed = True
            assert engine.status.pid is not None
            os.kill(engine.status.pid, number)
    restarts = [event for event in events if isinstance(event, Restarted)]
    assert [event.reason for event in restarts] == [f"killed by {number.name}"]
    assert answer(events) == "hello world", "the text from before the death is void"
    assert engine.status.deaths == 1
    assert engine.status.state is EngineState.READY


async def test_a_child_that_falls_silent_is_killed_and_replaced(make: Make) -> None:
    engine = make(limits=ChildLimits(work_s=1.5))
    restarts: list[str] = []
    stopped = False
    async for event in engine.stream(request("hello world")):
        if isinstance(event, Restarted):
            restarts.append(event.reason)
        elif isinstance(event, Delta) and not stopped:
            stopped = True
            assert engine.status.pid is not None
            os.kill(engine.status.pid, signal.SIGSTOP)
    assert restarts == ["was stopped by a signal"]


async def test_a_request_that_kills_twice_fails_and_others_go_on(make: Make) -> None:
    engine = make(env={"ENGINE_FAULT": "kill@token:5"})
    await engine.start()
    with pytest.raises(EngineDied, match="ended twice"):
        await collect(engine, request("hello world"))
    assert answer(await collect(engine, request("ok"))) == "ok"
    assert engine.status.deaths == 2


async def test_three_deaths_set_the_model_aside_until_it_is_retried(make: Make, tmp_path: Path) -> None:
    engine = make(env={"ENGINE_FAULT": "segv@token:5"})
    with pytest.raises(EngineDied):
        await collect(engine, request("hello world"))
    with pytest.raises(ModelSetAside, match="3 times within 5 minutes"):
        await collect(engine, request("hello world"))
    assert engine.status.state is EngineState.SET_ASIDE
    assert engine.status.reason is not None
    assert "SIGSEGV" in engine.status.reason
    with pytest.raises(ModelSetAside, match="tries it again, or choose another model"):
        await collect(engine, request("ok"))
    with pytest.raises(ModelSetAside):
        await engine.start()
    with pytest.raises(ModelSetAside):
        await engine.count_tokens(["x"])
    await engine.retry_model()
    assert answer(await collect(engine, request("ok"))) == "ok"
    assert engine.status.reason is None


async def test_requests_waiting_when_the_model_is_set_aside_all_hear_of_it(make: Make) -> None:
    engine = make(env={"ENGINE_FAULT": "kill@token:2"}, policy=RestartPolicy(backoff_s=(0.01,), max_deaths=2))
    results = await asyncio.gather(
        *(collect(engine, request("hello", request_id=f"r{number}")) for number in range(3)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [EngineDied, ModelSetAside, ModelSetAside]


async def test_a_child_that_dies_idle_is_replaced_before_anybody_asks(make: Make) -> None:
    engine = make()
    await engine.start()
    old = engine.status.pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    async with asyncio.timeout(10):
        while engine.status.pid in {old, None} or engine.status.state is not EngineState.READY:
            await asyncio.sleep(0.02)
    assert engine.status.deaths == 1


async def test_many_requests_are_in_the_child_at_once_and_a_death_repeats_each_of_them(make: Make) -> None:
    engine = make()
    await engine.start()
    words = [f"answer {number} of many" for number in range(8)]
    tasks = [asyncio.create_task(collect(engine, request(word, request_id="same"))) for word in words]
    async with asyncio.timeout(20):
        while engine.status.running < 1:
            await asyncio.sleep(0.01)
        assert engine.status.state is EngineState.BUSY
        assert engine.status.running + engine.status.waiting == 8
        assert engine.status.pid is not None
        os.kill(engine.status.pid, signal.SIGKILL)
        results = await asyncio.gather(*tasks)
    assert [answer(events) for events in results] == words
    for events in results:
        assert [type(event) for event in events].count(Restarted) == 1
        after = events[[type(event) for event in events].index(Restarted) + 1 :]
        assert "".join(event.text for event in after if isinstance(event, Delta)) == answer(events)
    assert (engine.status.running, engine.status.waiting) == (0, 0)
    assert engine.status.state is EngineState.READY


async def test_one_request_that_kills_takes_no_other_with_it(make: Make) -> None:
    engine = make(env={"ENGINE_FAULT": "kill@token:9"})
    await engine.start()
    texts = ["short", "tiny", "long enough to kill", "small", "word"]
    async with asyncio.timeout(20):
        results = await asyncio.gather(
            *(collect(engine, request(text)) for text in texts), return_exceptions=True
        )
    assert isinstance(results[2], EngineDied)
    others = [result for index, result in enumerate(results) if index != 2]
    assert [answer(events) for events in others if isinstance(events, list)] == [
        "short",
        "tiny",
        "small",
        "word",
    ]
    assert engine.status.deaths == 2


async def test_a_child_whose_work_is_held_back_is_not_taken_for_hung(make: Make) -> None:
    engine = make(limits=ChildLimits(work_s=1.2))
    engine.set_limits(PowerLimits(background=False))
    await engine.start()
    held_back = asyncio.create_task(collect(engine, request("later", priority=Priority.BACKGROUND)))
    await asyncio.sleep(2.0)
    assert not held_back.done()
    assert engine.status.deaths == 0
    engine.set_limits(PowerLimits())
    assert answer(await held_back) == "later"


async def test_a_child_that_talks_garbage_is_not_believed(make: Make) -> None:
    engine = make(env={"FAKE_CHILD": "garbage"})
    with pytest.raises(ModelSetAside, match="broke the protocol"):
        await engine.start()
