"""The supervisor with a real child process around a fake model: life, death, queue, and what the user is told."""

import asyncio
import hashlib
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.core import Delta, Finished, Prefill, Priority, Request, Restarted, StreamEvent
from engine.errors import (
    EngineBusy,
    EngineDied,
    EngineError,
    EngineStopped,
    ModelInvalid,
    ModelMissing,
    ModelSetAside,
    ModelTooLarge,
    PromptTooLong,
    RequestInvalid,
)
from engine.host.child_process import ChildLimits
from engine.host.restarts import RestartPolicy
from engine.model import CacheSpec, ModelSpec, PowerLimits
from engine.states.prefix_files import PrefixFiles
from engine.states.prefix_index import token_key
from engine.status import EngineState
from engine.supervisor import EngineSupervisor
from tests.engine.support import FAKE_CHILD, model_file, request
from tests.processes import has_ended

QUICK = RestartPolicy(backoff_s=(0.01,))
Make = Callable[..., EngineSupervisor]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Supervisors that are stopped after the test."""
    made: list[EngineSupervisor] = []

    def factory(**changes: Any) -> EngineSupervisor:
        fields: dict[str, Any] = {
            "model": changes.pop("model", None) or model_file(tmp_path),
            "command": FAKE_CHILD,
            "state_file": tmp_path / "engine.json",
            "log_file": tmp_path / "engine.log",
            "policy": QUICK,
        }
        made.append(EngineSupervisor(**{**fields, **changes}))
        return made[-1]

    yield factory
    for engine in made:
        await engine.stop()


async def collect(engine: EngineSupervisor, asked: Request) -> list[StreamEvent]:
    return [event async for event in engine.stream(asked)]


def answer(events: list[StreamEvent]) -> str:
    last = events[-1]
    assert isinstance(last, Finished)
    return last.text


async def first_delta(stream: AsyncIterator[StreamEvent]) -> None:
    async for event in stream:
        if isinstance(event, Delta):
            return
    raise AssertionError("the stream ended without text")


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


async def test_the_self_test_finds_settings_that_survive_and_remembers_them(
    make: Make, tmp_path: Path
) -> None:
    engine = make(env={"ENGINE_FAULT": "segv@selftest:use_extra_bufts"})
    await engine.start()
    assert engine.status.safe_mode == "plain_buffers"
    assert engine.status.notice == (
        "The engine crashed with this computer's fastest instructions, so it runs with safe settings; "
        "answers may be a little slower."
    )
    assert engine.status.deaths == 1
    await engine.stop()
    again = make(env={"ENGINE_FAULT": "segv@selftest"})
    states: list[EngineState] = []
    again.subscribe(lambda status: states.append(status.state))
    await again.start()
    assert again.status.safe_mode == "plain_buffers"
    assert again.status.notice is not None
    assert EngineState.SELF_TEST not in states, "what was found once is used directly"


async def test_a_self_test_that_hangs_counts_as_a_crash(make: Make) -> None:
    engine = make(env={"ENGINE_FAULT": "hang@selftest:flash_attention"}, limits=ChildLimits(load_s=1.5))
    await engine.start()
    assert engine.status.safe_mode == "most_careful"


async def test_when_no_settings_survive_the_model_is_set_aside(make: Make, tmp_path: Path) -> None:
    engine = make(env={"ENGINE_FAULT": "abort@selftest"})
    with pytest.raises(ModelSetAside, match="most careful settings .killed by SIGABRT"):
        await engine.start()
    assert engine.status.state is EngineState.SET_ASIDE
    assert engine.status.deaths == 3
    assert not (tmp_path / "engine.json").exists()


async def test_settings_that_stop_working_are_tested_again(make: Make) -> None:
    first = make()
    await first.start()
    await first.stop()
    engine = make(env={"ENGINE_FAULT": "segv@load:use_extra_bufts"})
    await engine.start()
    assert engine.status.safe_mode == "plain_buffers"


async def test_a_model_that_does_not_fit_is_refused_with_the_numbers_and_no_process_stays(make: Make) -> None:
    engine = make(free_memory=lambda: 10)
    with pytest.raises(ModelTooLarge, match=r"needs at least 0 MB of memory.*close other programs"):
        await engine.start()
    assert engine.status.state is EngineState.STOPPED
    assert engine.status.pid is None
    assert engine.status.deaths == 0


async def test_the_plan_is_told_and_remembered(make: Make, tmp_path: Path) -> None:
    engine = make()
    await engine.start()
    assert engine.status.plan == "All on the processor: 1 layer, a context of 4,096 tokens, KV cache f16."
    assert engine.status.memory_bytes == 1
    await engine.stop()
    assert (engine.status.plan, engine.status.memory_bytes) == (None, None)
    assert '"plans"' in (tmp_path / "engine.json").read_text(encoding="utf-8")


async def test_a_missing_and_an_invalid_model_are_refused_with_a_sentence(make: Make, tmp_path: Path) -> None:
    missing = make(model=ModelSpec(path=tmp_path / "no.gguf", name="no"))
    with pytest.raises(ModelMissing, match="choose an existing GGUF"):
        await missing.start()
    assert missing.status.state is EngineState.STOPPED
    assert missing.status.reason is not None
    truncated = make(model=model_file(tmp_path, b"GGUF"))
    with pytest.raises(ModelInvalid, match="cut off"):
        await collect(truncated, request("hi"))
    model_file(tmp_path)
    assert answer(await collect(truncated, request("hi"))) == "hi", "a mended file works without more ado"


async def test_a_flipped_byte_in_a_file_of_known_hash_is_noticed_and_a_whole_one_is_read_through_once(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = model_file(tmp_path)
    whole = spec.path.read_bytes()
    spec = replace(spec, sha256=hashlib.sha256(whole).hexdigest())
    engine = make(model=spec)
    assert answer(await collect(engine, request("hi"))) == "hi"
    await engine.stop()

    with monkeypatch.context() as patch:
        patch.setattr("engine.host.start_up.verify", lambda *_, **__: pytest.fail("it was read again"))
        again = make(model=spec)
        await again.start()
        await again.stop()

    before = spec.path.stat()
    spec.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(spec.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    flipped = make(model=spec)
    for _ in range(2):
        with pytest.raises(ModelInvalid, match=r"^The file of tiny is damaged.*install Hearth again\.$"):
            await flipped.start()
    assert (flipped.status.state, flipped.status.pid) == (EngineState.STOPPED, None)

    spec.path.write_bytes(whole)
    assert answer(await collect(flipped, request("mended"))) == "mended"


async def test_a_model_that_the_child_refuses_is_no_death(make: Make) -> None:
    engine = make(env={"FAKE_CHILD": "invalid"})
    with pytest.raises(ModelInvalid, match="choose another"):
        await engine.start()
    assert engine.status.deaths == 0
    assert engine.status.pid is None


async def test_a_child_that_talks_garbage_is_not_believed(make: Make) -> None:
    engine = make(env={"FAKE_CHILD": "garbage"})
    with pytest.raises(ModelSetAside, match="broke the protocol"):
        await engine.start()


@pytest.mark.parametrize("command", [("/no/such/program",), ("/bin/false",)])
async def test_a_child_that_can_not_be_started_is_given_up_after_three_tries(
    make: Make, command: tuple[str, ...]
) -> None:
    engine = make(command=command)
    with pytest.raises(ModelSetAside, match="3 times"):
        await engine.start()


async def test_the_request_s_own_error_reaches_its_caller(make: Make) -> None:
    engine = make(model=None)
    with pytest.raises(PromptTooLong) as caught:
        await collect(engine, request("x" * 5000))
    assert (caught.value.prompt_tokens, caught.value.n_ctx) == (5000, 4096)
    assert answer(await collect(engine, request("ok"))) == "ok"


async def test_stopping_fails_running_and_waiting_requests_and_later_ones(make: Make) -> None:
    engine = make()
    await engine.start()
    tasks = [
        asyncio.create_task(collect(engine, request("x" * 3000, request_id=f"r{number}")))
        for number in range(3)
    ]
    await asyncio.sleep(0.2)
    await engine.stop()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [EngineStopped] * 3
    with pytest.raises(EngineStopped):
        await collect(engine, request("late"))
    await engine.stop()
    await engine.start()
    assert answer(await collect(engine, request("again"))) == "again"


async def test_a_prefix_is_forgotten_on_disk_also_when_the_child_can_not_answer(
    make: Make, tmp_path: Path
) -> None:
    cache = CacheSpec(folder=tmp_path / "prefixes", key="5a" * 32)
    files = PrefixFiles(tmp_path / "prefixes", secret=bytes.fromhex("5a" * 32), identity="another model")
    pin, key = files.pin_of("agent"), token_key([1, 2])
    part = files.write(pin, key, b"state", given_up=lambda: False)
    assert part is not None
    files.place(pin, part)
    engine = make(cache=cache)
    await engine.start()
    assert engine.status.pid is not None
    os.kill(engine.status.pid, signal.SIGSTOP)
    forgetting = asyncio.create_task(engine.forget_prefix("agent"))
    await asyncio.sleep(0)
    await engine.stop(timeout_s=0.1)
    with pytest.raises(EngineStopped):
        await forgetting
    assert files.read(pin, key) is None


async def test_stopping_in_the_middle_of_a_start_ends_the_start(make: Make) -> None:
    engine = make(env={"ENGINE_FAULT": "hang@load"})
    starting = asyncio.create_task(engine.start())
    async with asyncio.timeout(10):
        while engine.status.pid is None:
            await asyncio.sleep(0.01)
    await engine.stop(timeout_s=1.0)
    with pytest.raises(EngineStopped):
        await starting
    assert engine.status.state is EngineState.STOPPED


async def test_a_stopped_child_that_does_not_go_is_killed_in_time(make: Make) -> None:
    engine = make()
    await engine.start()
    pid = engine.status.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(4):
        await engine.stop(timeout_s=0.3)
    assert has_ended(pid)


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


async def test_a_disk_that_takes_no_settings_file_does_not_stop_the_engine(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    engine = make(state_file=blocked / "engine.json")
    assert answer(await collect(engine, request("ok"))) == "ok"
    assert "was not remembered" in caplog.text


async def test_text_that_can_not_be_sent_is_counted_or_refused(make: Make) -> None:
    engine = make()
    assert await engine.count_tokens(["a\ud800"]) == [2]
    with pytest.raises(RequestInvalid, match="split the text"):
        await engine.count_tokens(["x" * 4_000_001])
