"""Asks a supervised engine, and makes one."""

from collections.abc import AsyncIterator, Callable

from engine.core import Delta, Finished, Request, StreamEvent
from engine.host.restarts import RestartPolicy
from engine.supervisor import EngineSupervisor

QUICK = RestartPolicy(backoff_s=(0.01,))
Make = Callable[..., EngineSupervisor]


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
