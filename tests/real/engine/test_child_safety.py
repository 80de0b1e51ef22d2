"""The walls around the real child while it does everything that it can do: no key, no socket, no program, no endless template."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.builtin import built_in_embedder, built_in_model
from engine.child.guard import MAX_OPEN_FILES
from engine.core import Finished, Message, PinnedPrefix, Request, SamplingParams
from engine.errors import ModelInvalid, RequestInvalid
from engine.model import CacheSpec, ModelSpec
from engine.supervisor import EngineSupervisor
from tests.engine.support import request
from tests.real.engine import tiny_models
from tests.real.engine.tiny_models import Kind, write_model

Make = Callable[..., EngineSupervisor]

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and seccomp are Linux's")
PAGE = "The keys of the archive hang behind the door, and nobody but the porter may take them. " * 8


def pid_of(engine: EngineSupervisor) -> int:
    pid = engine.status.pid
    assert pid is not None
    return pid


def proc(engine: EngineSupervisor) -> Path:
    return Path("/proc") / str(pid_of(engine))


def pinned(number: int) -> Request:
    return Request(
        id=f"r{number}",
        messages=(Message(role="system", content=PAGE), Message(role="user", content=f"{number}. Who?")),
        sampling=SamplingParams(max_tokens=8, seed=number),
        prefix=PinnedPrefix(name="porter"),
    )


async def answer(engine: EngineSupervisor, asked: Request) -> Finished:
    events = [event async for event in engine.stream(asked)]
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def sockets(engine: EngineSupervisor) -> list[str]:
    """What the child holds of the network, and of other programs."""
    found = []
    for descriptor in (proc(engine) / "fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed in between
        if target.startswith("socket:"):
            found.append(target)
    return found


def check_walls(engine: EngineSupervisor, sockets_before: list[str]) -> None:
    """Every thread is behind the filter, nothing was opened and nothing started."""
    for thread in (proc(engine) / "task").iterdir():
        status = (thread / "status").read_text(encoding="utf-8")
        assert "Seccomp:\t2" in status, thread.name
        assert "NoNewPrivs:\t1" in status, thread.name
    child = psutil.Process(pid_of(engine))
    assert child.net_connections(kind="inet") == []
    assert child.children() == []
    assert sockets(engine) == sockets_before
    limits = {
        line[:26].strip(): line[26:].split()[:2]
        for line in (proc(engine) / "limits").read_text(encoding="utf-8").splitlines()
    }
    assert limits["Max core file size"] == ["0", "0"]
    assert int(limits["Max open files"][1]) <= MAX_OPEN_FILES
    assert int(limits["Max data size"][1]) <= psutil.virtual_memory().total


@linux_only
async def test_the_key_of_the_cache_is_nowhere_to_be_read(make: Make, tmp_path: Path) -> None:
    key = secrets.token_hex(32)
    folder = tmp_path / "states"
    cache = CacheSpec(ram_bytes=0, disk_bytes=64 * 2**20, folder=folder, key=key)
    engine = make(cache=cache, state_file=tmp_path / "state.json")
    for number in range(2):
        await answer(engine, pinned(number))
    for place in ("environ", "cmdline"):
        seen = (proc(engine) / place).read_bytes()
        assert key.encode() not in seen
        assert bytes.fromhex(key) not in seen
    await engine.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(folder in path.parents for path in files), "the prefix lies on the disk"
    assert any(path.name == "state.json" for path in files)
    for path in files:
        held = path.read_bytes()
        assert key.encode() not in held, path.name
        assert bytes.fromhex(key) not in held, path.name
        assert PAGE[:40].encode() not in held, path.name
    assert key not in repr(cache)


@linux_only
async def test_a_key_of_no_use_is_not_repeated_in_the_log(make: Make, tmp_path: Path) -> None:
    key = "no-hex-" + secrets.token_hex(16)
    cache = CacheSpec(folder=tmp_path / "states", key=key)
    engine = make(cache=cache)
    await answer(engine, pinned(1))
    await engine.stop()
    log = (tmp_path / "engine.log").read_text(encoding="utf-8")
    assert "key" in log, "the log says why nothing is kept on the disk"
    assert key not in log


@linux_only
async def test_an_embedding_child_opens_no_socket_and_starts_nothing(make: Make) -> None:
    engine = make(model=built_in_embedder())
    await engine.start()
    before = sockets(engine)
    texts = [f"{number} {PAGE[:200]}" for number in range(80)]
    embedding = asyncio.create_task(engine.embed(texts))
    while not embedding.done():
        check_walls(engine, before)
        await asyncio.sleep(0.05)
    assert len((await embedding).vectors) == len(texts)
    check_walls(engine, before)


@linux_only
async def test_a_child_with_a_draft_model_and_a_disk_opens_no_socket_and_starts_nothing(
    make: Make, tmp_path: Path
) -> None:
    cache = CacheSpec(ram_bytes=0, folder=tmp_path / "states", key=secrets.token_hex(32))
    engine = make(model=replace(built_in_model(), draft_path=built_in_model().path), cache=cache)
    await engine.start()
    before = sockets(engine)
    writing = asyncio.gather(
        *(answer(engine, pinned(number)) for number in range(3)),
        answer(engine, request(f"Repeat: {PAGE[:200]}", temperature=0.0, max_tokens=24)),
    )
    while not writing.done():
        check_walls(engine, before)
        await asyncio.sleep(0.05)
    assert len(await writing) == 4
    check_walls(engine, before)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(90000) %}{% for b in range(90000) %}{% set x = a %}{% endfor %}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ ('x' * 90000) * 90000 }}",
    ],
    ids=["endless", "escaping", "starting a program", "huge"],
)
async def test_a_hostile_template_of_a_model_file_costs_a_request_and_never_the_child(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(tiny_models, "TEMPLATE", template)
    path = write_model(tmp_path / "hostile.gguf", Kind.LLAMA)
    engine = make(model=ModelSpec(path=path, name="hostile", n_ctx=1024))
    started = time.monotonic()
    with pytest.raises((RequestInvalid, ModelInvalid)) as caught:
        await answer(engine, request("hello", max_tokens=2))
    assert time.monotonic() - started < 10.0
    assert str(caught.value).endswith((".", "?"))
    assert engine.status.deaths == 0
    if isinstance(caught.value, RequestInvalid):  # a raw prompt needs no template
        raw = Request(id="raw", prompt="hello", sampling=SamplingParams(max_tokens=2))
        assert (await answer(engine, raw)).usage.completion_tokens > 0


async def test_the_child_is_built_without_remote_devices(make: Make) -> None:
    """llama.cpp's RPC backend would load tensors over the network; it is not among the libraries that are mapped."""
    engine = make()
    await engine.start()
    mapped = [Path(entry.path).name.lower() for entry in psutil.Process(pid_of(engine)).memory_maps()]
    assert any("llama" in name for name in mapped), "the libraries are seen at all"
    assert [name for name in mapped if "rpc" in name] == []
