"""A supervised child on its way up: the self-test, plans, files that must be whole, and refusals."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import (
    ModelInvalid,
    ModelMissing,
    ModelSetAside,
    ModelTooLarge,
)
from engine.host.child_process import ChildLimits
from engine.model import ModelSpec
from engine.status import EngineState
from tests.engine.supervisor.asking import Make, answer, collect
from tests.engine.support import model_file, request


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


@pytest.mark.parametrize("command", [("/no/such/program",), ("/bin/false",)])
async def test_a_child_that_can_not_be_started_is_given_up_after_three_tries(
    make: Make, command: tuple[str, ...]
) -> None:
    engine = make(command=command)
    with pytest.raises(ModelSetAside, match="3 times"):
        await engine.start()


async def test_a_disk_that_takes_no_settings_file_does_not_stop_the_engine(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    engine = make(state_file=blocked / "engine.json")
    assert answer(await collect(engine, request("ok"))) == "ok"
    assert "was not remembered" in caplog.text
