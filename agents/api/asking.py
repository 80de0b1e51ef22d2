"""Asks the engine for one answer or several beside each other, and hands back events or whole answers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from agents.api.continuing import Continuation
from agents.api.fields import MAX_SEED
from agents.api.refusals import from_engine, internal
from engine.core import (
    Delta,
    Finished,
    FinishReason,
    Request,
    Restarted,
    StreamEvent,
    TokenLogprob,
    ToolCall,
    Usage,
)
from engine.errors import EngineError
from engine.supervisor import Engine

log = logging.getLogger(__name__)

QUEUED_EVENTS = 64


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One whole answer."""

    text: str = field(repr=False)
    tool_calls: tuple[ToolCall, ...]
    logprobs: tuple[TokenLogprob, ...] = field(repr=False)
    finish_reason: FinishReason
    usage: Usage
    stop: str | None  # the stop string that ended it


def with_seeds(request: Request, n: int) -> tuple[Request, ...]:
    """`n` requests for the choices of one call. Each has a seed, so that a restarted engine repeats the same answer.

    Only a caller's own seed asks for the same answer each time, to the letter; the others may be guessed ahead.
    """
    seed = request.sampling.seed
    first = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
    return tuple(
        replace(
            request,
            id=f"{request.id}-{index}" if n > 1 else request.id,
            sampling=replace(request.sampling, seed=(first + index) % (MAX_SEED + 1)),
            speculate=seed is None,
        )
        for index in range(n)
    )


async def follow(
    engine: Engine, requests: Sequence[Request]
) -> AsyncGenerator[tuple[int, StreamEvent], None]:
    """The events of all choices as they come, none of them Restarted. Raises Refusal; the others are then aborted.

    Closing the generator aborts every choice.
    """
    queue: asyncio.Queue[tuple[int, StreamEvent | Exception]] = asyncio.Queue(QUEUED_EVENTS)
    tasks = [asyncio.create_task(_pump(engine, each, i, queue)) for i, each in enumerate(requests)]
    parts = [Continuation() for _ in requests]
    try:
        left = len(tasks)
        while left:
            index, event = await queue.get()
            if isinstance(event, EngineError):
                raise from_engine(event)
            if isinstance(event, Exception):
                log.error("a model request failed with an unexpected error", exc_info=event)
                raise internal()
            fresh = parts[index].take(event)
            if fresh is not None:
                yield index, fresh
            left -= isinstance(event, Finished)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def collect(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """All whole answers, in the order of the requests. Raises Refusal; the others are then aborted."""
    tasks = [asyncio.create_task(_whole(engine, request)) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    except EngineError as error:
        raise from_engine(error) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    engine: Engine,
    request: Request,
    index: int,
    queue: asyncio.Queue[tuple[int, StreamEvent | Exception]],
) -> None:
    try:
        async with _closing(engine.stream(request)) as events:
            async for event in events:
                await queue.put((index, event))
    except Exception as error:  # noqa: BLE001 - carried over to the one that reads the queue
        await queue.put((index, error))


async def _whole(engine: Engine, request: Request) -> Answer:
    logprobs: list[TokenLogprob] = []
    async with _closing(engine.stream(request)) as events:
        async for event in events:
            match event:
                case Restarted():
                    logprobs.clear()
                case Delta():
                    logprobs.extend(event.logprobs)
                case Finished():
                    return Answer(
                        text=event.text,
                        tool_calls=event.tool_calls,
                        logprobs=tuple(logprobs),
                        finish_reason=event.finish_reason,
                        usage=event.usage,
                        stop=event.stop,
                    )
    raise EngineError("The engine ended the answer without a word; ask again.")


@asynccontextmanager
async def _closing(events: AsyncIterator[StreamEvent]) -> AsyncIterator[AsyncIterator[StreamEvent]]:
    """Aborts the request at once when its reader leaves, and not when the garbage collector finds the generator."""
    try:
        yield events
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
