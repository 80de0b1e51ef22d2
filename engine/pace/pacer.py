"""Runs each batch with the threads, in the lane and at the size that suit the moment.

Runs in: engine child, engine thread; `lift` from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from engine.core import Priority
from engine.pace.machine_probe import MachineProbe
from engine.pace.os_priority import Lanes, ProcessPriority
from engine.pace.pacing import ChunkSizer, FixedThreads, ThreadChoice, ThreadGovernor

CHUNK_TOKENS = 64  # of a prompt; on two cores a prompt was read 7 % faster with 512, and 13 % slower with 32
SHORT_CHUNK_S = 0.05  # while twice as many tokens take no longer, a chunk is larger: a GPU wants it so
LONG_CHUNK_S = 0.45  # more only for the smallest chunk
LONG_CHUNK_BESIDE_WRITERS_S = 0.25  # so long their next tokens wait

T = TypeVar("T")


class Threaded(Protocol):
    """A context whose threads can be set."""

    @property
    def n_threads(self) -> int:
        """Threads of the next batch."""
        ...

    def set_threads(self, n_threads: int) -> None:
        """Compute with so many threads from the next batch on."""


class Pacer:
    """The pace of one model's batches."""

    def __init__(
        self,
        *,
        threads: ThreadChoice,
        chunks: ChunkSizer,
        lanes: Lanes,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._threads = threads
        self._chunks = chunks
        self._lanes = lanes
        self._now = now
        self._n_for_prompts = dict.fromkeys((False, True), threads.allowed)

    def run(
        self,
        call: Callable[[], T],
        context: Threaded,
        *,
        n_tokens: int,
        priority: Priority,
        is_whole: Callable[[T], bool],
        repeatable: bool = False,
    ) -> T:
        """Compute a batch and learn from it if it was computed to its end.

        A single token is rounded otherwise by another number of threads once its context has some hundred tokens
        (llama.cpp divides the attention among them), so what must be repeatable always gets the same number.
        """
        background = priority is Priority.BACKGROUND
        fixed = repeatable and n_tokens == 1
        n_threads = (
            self._threads.allowed if fixed else self._threads.threads_for(n_tokens, background=background)
        )
        context.set_threads(n_threads)
        if n_tokens >= CHUNK_TOKENS // 2:
            self._n_for_prompts[background] = n_threads
        started = self._now()
        result = self._lanes.run(call, background)
        wall_s = max(self._now() - started, 1e-6)
        if is_whole(result):
            self._threads.observe(n_threads, n_tokens, wall_s, background=background)
            self._chunks.observe(n_tokens, wall_s, n_threads=n_threads, background=background)
        return result

    def chunk_tokens(self, priority: Priority, writing: bool) -> int:
        """How many tokens of prompts a batch of this class may have; writing: others of the class want their next token.

        On processors that take their time it is always the same unless that takes too long: a part of such a chunk
        rounds otherwise, and a prompt is to be read the same way each time where that can be had. Whole multiples of it
        round alike.
        """
        background = priority is Priority.BACKGROUND
        limit_s = LONG_CHUNK_BESIDE_WRITERS_S if writing and not background else LONG_CHUNK_S
        n_threads = self._n_for_prompts[background]
        fits = self._chunks.tokens_for(limit_s, n_threads=n_threads, background=background)
        size = CHUNK_TOKENS
        while size > max(fits, 8):
            size //= 2
        while 2 * size <= self._chunks.tokens_for(SHORT_CHUNK_S, n_threads=n_threads, background=background):
            size *= 2
        return size

    def limit(self, max_threads: int | None) -> int:
        """So many threads at most from now on; None lifts the limit. Returns what holds now."""
        self._threads.limit(max_threads)
        return self._threads.allowed

    def lift(self) -> None:
        """Somebody waits: what background work holds is to be done soon. From any thread."""
        self._lanes.lift()

    def close(self) -> None:
        """End the background lane."""
        self._lanes.close()


def make_pacer(*, max_threads: int, n_batch: int, on_gpu: bool, process: ProcessPriority | None) -> Pacer:
    """The pacer of a loaded model. Threads that only feed a GPU do not decide the speed and stay as they are."""
    threads: ThreadChoice = (
        FixedThreads(max_threads)
        if on_gpu or max_threads == 1
        else ThreadGovernor(max_threads=max_threads, probe=MachineProbe(), now=time.monotonic)
    )
    return Pacer(threads=threads, chunks=ChunkSizer(n_batch=n_batch), lanes=Lanes(process))
