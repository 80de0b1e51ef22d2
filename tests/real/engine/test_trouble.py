"""The real child in trouble: killed, silenced, crashing at its self-test, orphaned, noisy; the runtime goes on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.builtin import built_in_model
from engine.core import Delta, Finished, FinishReason, Prefill, Request, Restarted, StreamEvent
from engine.errors import ModelInvalid, ModelSetAside
from engine.host.child_process import ChildLimits
from engine.model import KvType, ModelSpec
from engine.status import EngineState
from engine.supervisor import EngineSupervisor
from tests.engine.support import ROOT, gguf_image, request
from tests.processes import has_ended

Make = Callable[..., EngineSupervisor]
LONG = "All work and no play makes the engine a dull child. " * 300  # about 3,900 tokens


def story(**sampling: object) -> Request:
    return request("Tell me about the sea.", **{"seed": 1, "max_tokens": 12, **sampling})  # type: ignore[arg-type]


def pid_of(engine: EngineSupervisor) -> int:
    pid = engine.status.pid
    assert pid is not None
    return pid


async def act_on_first(
    engine: EngineSupervisor, asked: Request, kind: type, act: Callable[[], None]
) -> list[StreamEvent]:
    """Play a request to its end; do something once, when the first event of a kind arrives."""
    events: list[StreamEvent] = []
    acted = False
    async for event in engine.stream(asked):
        events.append(event)
        if isinstance(event, kind) and not acted:
            acted = True
            act()
    return events


async def until_first(stream: AsyncIterator[StreamEvent], kind: type) -> AsyncIterator[StreamEvent]:
    """The events up to the first one of a kind; the stream stays open."""
    async for event in stream:
        yield event
        if isinstance(event, kind):
            return


async def next_of(stream: AsyncIterator[StreamEvent], kind: type) -> None:
    async for _ in until_first(stream, kind):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_child_killed_while_it_answers_is_replaced_and_the_answer_repeated(
    make: Make, number: signal.Signals
) -> None:
    engine = make()
    await engine.start()
    events = await act_on_first(engine, story(), Delta, lambda: os.kill(pid_of(engine), number))
    assert [event.reason for event in events if isinstance(event, Restarted)] == [f"killed by {number.name}"]
    last = events[-1]
    assert isinstance(last, Finished)
    after = events[next(at for at, event in enumerate(events) if isinstance(event, Restarted)) :]
    assert "".join(event.text for event in after if isinstance(event, Delta)) == last.text


async def test_a_child_stopped_while_it_reads_is_killed_and_replaced(make: Make) -> None:
    engine = make(limits=ChildLimits(work_s=10.0))
    await engine.start()
    events = await act_on_first(engine, story(), Prefill, lambda: os.kill(pid_of(engine), signal.SIGSTOP))
    assert [event.reason for event in events if isinstance(event, Restarted)] == ["was stopped by a signal"]
    assert isinstance(events[-1], Finished)


async def test_an_abort_during_prefill_and_during_decode_frees_the_child_at_once(make: Make) -> None:
    engine = make()
    await engine.start()
    pid = pid_of(engine)

    for _ in range(2):
        reading = engine.stream(request(LONG, max_tokens=5))
        computed = [event async for event in until_first(reading, Prefill)][-1]
        await reading.aclose()  # type: ignore[attr-defined]
        assert isinstance(computed, Prefill)
        # the second time this is what the first one left behind: the abort stopped it far from the end
        assert computed.done_tokens < computed.total_tokens / 2

    writing = engine.stream(request("Tell a very long story.", seed=2, max_tokens=4000))
    await next_of(writing, Delta)
    await writing.aclose()  # type: ignore[attr-defined]
    last = (await act_on_first(engine, story(max_tokens=2), Finished, lambda: None))[-1]
    assert isinstance(last, Finished)
    assert pid_of(engine) == pid, "an abort is no reason to restart"
    assert engine.status.deaths == 0


async def test_an_answer_after_an_abort_is_the_same_as_without_one(make: Make) -> None:
    engine = make(
        model=replace(built_in_model(), kv_type=KvType.Q8_0)
    )  # rounds alike whatever else is in the cache
    asked = request("List the days of the week.", temperature=0.0, max_tokens=20)
    before = (await act_on_first(engine, asked, Finished, lambda: None))[-1]
    aborted = engine.stream(request(LONG, max_tokens=5))
    await next_of(aborted, Prefill)
    await aborted.aclose()  # type: ignore[attr-defined]
    after = (await act_on_first(engine, asked, Finished, lambda: None))[-1]
    assert isinstance(before, Finished)
    assert isinstance(after, Finished)
    assert before.text == after.text
    assert after.finish_reason in {FinishReason.STOP, FinishReason.LENGTH}


async def test_a_crash_in_the_self_test_leads_to_safe_settings_that_are_remembered(
    make: Make, tmp_path: Path
) -> None:
    memory = tmp_path / "own-state.json"
    crash = {"ENGINE_FAULT": "segv@selftest:use_extra_bufts"}
    engine = make(state_file=memory, env=crash)
    await engine.start()
    assert engine.status.safe_mode == "plain_buffers"
    assert engine.status.notice is not None
    assert "safe settings" in engine.status.notice
    assert isinstance((await act_on_first(engine, story(), Finished, lambda: None))[-1], Finished)
    await engine.stop()
    again = make(state_file=memory, env=crash)
    states: list[EngineState] = []
    again.subscribe(lambda status: states.append(status.state))
    await again.start()
    assert again.status.safe_mode == "plain_buffers"
    assert again.status.deaths == 0
    assert EngineState.SELF_TEST not in states


async def test_the_most_careful_settings_answer_too(make: Make, tmp_path: Path) -> None:
    engine = make(state_file=tmp_path / "own.json", env={"ENGINE_FAULT": "abort@selftest:flash_attention"})
    await engine.start()
    assert engine.status.safe_mode == "most_careful"
    assert isinstance((await act_on_first(engine, story(max_tokens=3), Finished, lambda: None))[-1], Finished)


async def test_a_model_that_always_crashes_is_set_aside_with_its_reason(make: Make, tmp_path: Path) -> None:
    engine = make(state_file=tmp_path / "own.json", env={"ENGINE_FAULT": "segv@selftest"})
    with pytest.raises(ModelSetAside, match="SIGSEGV"):
        await engine.start()
    log = (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert "Segmentation fault" in log, "the log says where it crashed"


async def test_native_output_on_stdout_does_not_disturb_an_answer(make: Make, tmp_path: Path) -> None:
    engine = make(env={"ENGINE_FAULT": "noise@token:2,noise@prefill"})
    events = await act_on_first(engine, story(), Finished, lambda: None)
    last = events[-1]
    assert isinstance(last, Finished)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == last.text
    assert engine.status.deaths == 0
    log = (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert "noise from native code" in log
    assert "Tell me about the sea" not in log


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and seccomp are Linux's")
async def test_the_child_has_no_keys_no_network_and_no_core_dumps(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key")
    engine = make()
    await engine.start()
    proc = Path("/proc") / str(pid_of(engine))
    assert b"canary-key" not in (proc / "environ").read_bytes()
    status = (proc / "status").read_text(encoding="utf-8")
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    limits = (proc / "limits").read_text(encoding="utf-8")
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


@pytest.mark.parametrize("phase", ["load", "prefill", "token", "idle"])
def test_the_child_ends_when_its_parent_is_killed(phase: str, state_file: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from engine.builtin import built_in_model
from engine.core import Message, Request, SamplingParams, Delta, Prefill
from engine.supervisor import EngineSupervisor

async def main():
    env = {{"PYTHONPATH": {str(ROOT)!r}}}
    if {phase!r} == "load":
        env["ENGINE_FAULT"] = "hang@load"
    engine = EngineSupervisor(model=built_in_model(), command=[sys.executable, "-m", "engine"],
                              state_file=Path({str(state_file)!r}), env=env)
    if {phase!r} == "load":
        asyncio.get_running_loop().create_task(engine.start())
        while engine.status.pid is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
    else:
        await engine.start()
    print(engine.status.pid, flush=True)
    if {phase!r} in ("prefill", "token"):
        text = "word " * (7000 if {phase!r} == "prefill" else 1)
        asked = Request(id="r", messages=(Message(role="user", content=text),),
                        sampling=SamplingParams(max_tokens=4000, seed=1))
        async for event in engine.stream(asked):
            if isinstance(event, Delta if {phase!r} == "token" else Prefill):
                print("now", flush=True)
    print("now", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "now\n"
        child = psutil.Process(child_pid)
        assert child.is_running()
        parent.kill()
        deadline = time.monotonic() + 2.0
        while not has_ended(child_pid) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert has_ended(child_pid)


async def test_broken_model_files_are_refused_and_nothing_dies(make: Make, tmp_path: Path) -> None:
    original = built_in_model().path.read_bytes()
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(original[: len(original) // 2])
    with pytest.raises(ModelInvalid, match="cut off"):
        await make(model=ModelSpec(path=truncated, name="truncated")).start()

    hollow = tmp_path / "hollow.gguf"  # passes every check of its header and is still no model
    hollow.write_bytes(gguf_image())
    engine = make(model=ModelSpec(path=hollow, name="hollow"))
    with pytest.raises(ModelInvalid, match="can't be loaded"):
        await engine.start()
    assert engine.status.deaths == 0
    assert engine.status.state is EngineState.STOPPED


async def test_many_requests_and_restarts_leave_one_child(make: Make) -> None:
    engine = make()
    await asyncio.gather(
        *(
            act_on_first(engine, request("hi", request_id=f"r{number}", max_tokens=3), Finished, lambda: None)
            for number in range(8)
        )
    )
    children = psutil.Process().children(recursive=True)
    assert [child.pid for child in children] == [pid_of(engine)]
