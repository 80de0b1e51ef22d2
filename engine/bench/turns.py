"""Takes measurements in turns (A, B, A, B, …), so that what the machine does meanwhile hits all alike; no clock, no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from engine.bench.core import Contender, Row
from engine.core import Request

Someone = TypeVar("Someone", bound=Contender)
Samples = dict[str, list[float]]


async def open_all(contenders: Sequence[Contender], *, n_parallel: int) -> None:
    """Make all ready; one after the other, so that a start disturbs no other one."""
    for contender in contenders:
        await contender.open(n_parallel=n_parallel)


async def in_turns(
    contenders: Sequence[Someone],
    turns: Iterable[int],
    measure: Callable[[Someone, int], Awaitable[float]],
    *,
    warm_up: Callable[[Someone], Awaitable[object]] | None = None,
) -> Samples:
    """One sample a turn of each contender by name, the order turned round each time. `measure` hears which turn it is."""
    samples: Samples = {contender.name: [] for contender in contenders}
    if warm_up is not None:
        for contender in contenders:
            await warm_up(contender)
            await contender.settle()
    for turn in turns:
        order = contenders if turn % 2 == 0 else contenders[::-1]
        for contender in order:
            samples[contender.name].append(await measure(contender, turn))
            await contender.settle()
    return samples


async def rate_of(contender: Contender, requests: Sequence[Request], clock: Callable[[], float]) -> float:
    """Tokens a second over requests that are sent at the same moment, from sending to the last answer's end."""
    started = clock()
    answers = await asyncio.gather(*(contender.answer(request) for request in requests))
    return sum(answer.tokens for answer in answers) / (clock() - started)


async def give_up(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what still runs and wait until it has gone; how each ended is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def rows_against(peers: Sequence[Contender], samples: Samples, row: Row) -> list[Row]:
    """`row`, which holds our own samples, beside the main peer: the first that works on many requests at once.

    Each other peer gets a row of its own, named after it and without a goal.
    """

    def beside(peer: Contender, **changes: Any) -> Row:
        return replace(row, peer=tuple(samples[peer.name]), peer_name=peer.name, **changes)

    main = next((peer for peer in peers if peer.concurrent), None)
    others = [peer for peer in peers if peer is not main]
    return [
        beside(main) if main is not None else row,
        *(beside(peer, name=f"{row.name}/{peer.name}", goal=None) for peer in others),
    ]
