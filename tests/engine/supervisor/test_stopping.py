"""A supervised child on its way down: who hears of it, and that nothing stays."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from engine.errors import (
    EngineStopped,
)
from engine.model import CacheSpec
from engine.states.prefix_files import PrefixFiles
from engine.states.prefix_index import token_key
from engine.status import EngineState
from tests.engine.supervisor.asking import Make, answer, collect
from tests.engine.support import request
from tests.processes import has_ended


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
