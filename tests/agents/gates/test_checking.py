"""An agent's gates are asked in order, up to the first that is closed, and no trouble of one gets out."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import time
from pathlib import Path

import pytest

from agents.gates import checking
from agents.gates.checking import GateKeeper
from agents.gates.finding import Finding
from agents.gates.url import Page
from agents.triggers import (
    ChangedGate,
    CommandGate,
    GateKind,
    HoursGate,
    MemoryGate,
    PowerGate,
    UrlGate,
    gate_key,
)
from tests.agents.conftest import FakeClock
from tests.agents.gates.conftest import agent_with, serving

NOON = HoursGate(start=time(11), end=time(13), zone="UTC")  # the clock shows 12:00
NIGHT = HoursGate(start=time(1), end=time(2), zone="UTC")


class Memories:
    def __init__(self, count: int = 0) -> None:
        self.count = count
        self.asked: list[Sequence[str]] = []

    async def count_remembered(self, words: Sequence[str]) -> int:
        self.asked.append(words)
        return self.count


@pytest.fixture
def memories() -> Memories:
    return Memories()


@pytest.fixture
async def make_keeper(clock: FakeClock, memories: Memories) -> AsyncIterator[Callable[..., GateKeeper]]:
    made: list[GateKeeper] = []

    def make(**options: object) -> GateKeeper:
        settings = {"clock": clock, "on_ac": lambda: True, "remembered": memories, **options}
        made.append(GateKeeper(**settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for keeper in made:
        await keeper.stop()
        keeper._threads.shutdown(wait=True)


async def test_an_agent_without_gates_has_nothing_to_wait_for(make_keeper: Callable[..., GateKeeper]) -> None:
    assert await make_keeper().check(agent_with(), {}) == []


async def test_gates_are_asked_in_order_up_to_the_first_closed_one(
    make_keeper: Callable[..., GateKeeper], memories: Memories
) -> None:
    keeper, memory = make_keeper(), MemoryGate(query="rent")
    outcomes = await keeper.check(agent_with(NOON, PowerGate(), NIGHT, memory), {})
    assert [(outcome.gate, outcome.is_open) for outcome in outcomes] == [
        (GateKind.HOURS, True),
        (GateKind.AC_POWER, True),
        (GateKind.HOURS, False),
    ]
    assert [outcome.key for outcome in outcomes] == [gate_key(g) for g in (NOON, PowerGate(), NIGHT)]
    assert memories.asked == []


async def test_all_kinds_of_gates_open_together(
    make_keeper: Callable[..., GateKeeper], memories: Memories, tmp_path: Path
) -> None:
    memories.count = 3

    async def fetch(url: str, hosts: Collection[str], etag: str | None) -> Page:
        assert (url, hosts, etag) == ("https://example.org/", ("example.org",), None)
        return Page(etag='"1"', body=None)

    papers = ChangedGate(paths=(tmp_path,))
    command = CommandGate(argv=(shutil.which("true") or "",))
    page = UrlGate(url="https://example.org/")
    agent = agent_with(
        papers,
        command,
        page,
        NOON,
        PowerGate(),
        MemoryGate(query="Rent  flat rent", at_least=3),
        read_folders=(tmp_path,),
        hosts=("example.org",),
        commands=(command.argv,),
    )
    keeper = make_keeper(fetch=fetch)
    outcomes = await keeper.check(agent, {})
    assert [outcome.is_open for outcome in outcomes] == [True] * 6
    assert memories.asked == [("Rent", "flat", "rent")]
    states = {outcome.key: outcome.state for outcome in outcomes if outcome.state is not None}
    assert states.keys() == {gate_key(papers), gate_key(page)}
    again = await keeper.check(agent, states)
    assert [(outcome.gate, outcome.is_open) for outcome in again] == [(GateKind.CHANGED, False)]


@pytest.mark.parametrize(
    ("on_ac", "is_open", "detail"),
    [
        (True, True, "the computer is plugged in"),
        (False, False, "the computer runs on battery"),
        (None, True, "the computer knows of no battery"),
    ],
)
async def test_power_is_looked_at_when_it_is_asked(
    make_keeper: Callable[..., GateKeeper], on_ac: bool | None, is_open: bool, detail: str
) -> None:
    (outcome,) = await make_keeper(on_ac=lambda: on_ac).check(agent_with(PowerGate()), {})
    assert (outcome.is_open, outcome.detail) == (is_open, detail)


@pytest.mark.parametrize(
    ("count", "at_least", "is_open", "detail"),
    [
        (0, 1, False, "0 things are remembered about “rent”, not 1"),
        (1, 1, True, "1 thing is remembered about “rent”"),
        (1_200, 2_000, False, "1,200 things are remembered about “rent”, not 2,000"),
    ],
)
async def test_memory_is_counted(
    make_keeper: Callable[..., GateKeeper],
    memories: Memories,
    count: int,
    at_least: int,
    is_open: bool,
    detail: str,
) -> None:
    memories.count = count
    gate = MemoryGate(query="rent", at_least=at_least)
    (outcome,) = await make_keeper().check(agent_with(gate), {})
    assert (outcome.is_open, outcome.detail) == (is_open, detail)


async def test_a_slow_drip_is_given_up(make_keeper: Callable[..., GateKeeper]) -> None:
    dripped = asyncio.Event()

    async def drip(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            dripped.set()

    async with serving(drip) as web:
        agent = agent_with(UrlGate(url=web.url()), hosts=("127.0.0.1",))
        (outcome,) = await make_keeper(url_limit_s=0.4).check(agent, {})
        await asyncio.wait_for(dripped.wait(), 5)  # the connection was ended, not only forgotten
    assert (outcome.is_open, outcome.detail) == (False, "it could not be checked within 0.4 s")


async def test_a_disk_that_does_not_answer_closes_its_gate_and_no_other(
    make_keeper: Callable[..., GateKeeper], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled_at: list[threading.Event] = []

    def hang(*_: object, cancelled: threading.Event, **__: object) -> Finding:
        cancelled_at.append(cancelled)
        cancelled.wait(20)
        return Finding(is_open=True, detail="too late")

    monkeypatch.setattr(checking, "check_changed", hang)
    keeper = make_keeper(files_limit_s=0.2)
    hanging, other = await asyncio.gather(
        keeper.check(agent_with(ChangedGate(paths=(tmp_path,))), {}), keeper.check(agent_with(NOON), {})
    )
    assert [(o.is_open, o.detail) for o in hanging] == [(False, "it could not be checked within 0.2 s")]
    assert other[0].is_open
    assert cancelled_at[0].is_set()


async def test_a_bug_in_one_gate_closes_it_and_is_logged(
    make_keeper: Callable[..., GateKeeper], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    (outcome,) = await make_keeper(on_ac=broken).check(agent_with(PowerGate()), {})
    assert not outcome.is_open
    assert outcome.detail == "an internal error kept it from being checked; see Hearth's log"
    assert "ac_power" in caplog.text


async def test_a_stop_ends_what_is_being_checked(make_keeper: Callable[..., GateKeeper]) -> None:
    command = CommandGate(argv=(shutil.which("sleep") or "", "60"), timeout_s=60)
    keeper = make_keeper()
    checking_it = asyncio.create_task(keeper.check(agent_with(command, commands=(command.argv,)), {}))
    await asyncio.sleep(0.3)
    await keeper.stop()
    (outcome,) = await asyncio.wait_for(checking_it, 10)
    assert not outcome.is_open
