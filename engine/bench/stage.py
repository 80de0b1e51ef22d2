"""What every row gets: the contenders, the workload, how much to measure, and the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from engine.bench.core import Contender, Embedder, OwnEngine, Scale
from engine.bench.workload import Workload

RunWork = Callable[[], Awaitable[float]]  # does the fixed work once; seconds of the slowest program


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The contenders are started and ended by the rows' runner; a row opens those that it measures."""

    ours: OwnEngine
    peers: tuple[Contender, ...]
    embedders: tuple[Embedder, ...]  # ours first; none where no embedding model is installed
    workload: Workload
    scale: Scale
    n_cores: int
    spinning: Callable[[int], AbstractAsyncContextManager[None]]
    fixed_work: Callable[[int, float], AbstractAsyncContextManager[RunWork]]
    read_bandwidth: Callable[[int], float]  # bytes a second that so many threads read from memory
    bytes_per_token: Callable[[int], int]  # read from memory for one token behind so many others
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def turns(self) -> Iterator[int]:
        """The numbers of the turns of one row: at least one, and no further one where the machine makes them endless."""
        started = self.clock()
        for turn in range(self.scale.repeat):
            if turn > 0 and self.clock() - started > self.scale.row_limit_s:
                return
            yield turn

    @property
    def concurrent_peers(self) -> list[Contender]:
        return [peer for peer in self.peers if peer.concurrent]
