"""The pacer: threads, lane and chunk size of real calls, with the machine and the clock played."""

from __future__ import annotations

import os
import sys

import pytest

from engine.core import Priority
from engine.pace.os_priority import Lanes
from engine.pace.pacer import CHUNK_TOKENS, Pacer, make_pacer
from engine.pace.pacing import ChunkSizer, FixedThreads


class Fewer(FixedThreads):
    """A choice that stays below what is allowed, and notes what it is told."""

    def __init__(self, n_threads: int) -> None:
        super().__init__(n_threads)
        self.seen: list[tuple[int, int, float, bool]] = []

    def threads_for(self, n_tokens: int, *, background: bool = False) -> int:
        return max(1, self.allowed - 1)

    def observe(self, n_threads: int, n_tokens: int, wall_s: float, *, background: bool = False) -> None:
        self.seen.append((n_threads, n_tokens, wall_s, background))


class Native:
    """A context that takes a given time for a token."""

    def __init__(self, seconds_a_token: float = 0.001) -> None:
        self.n_threads = 4
        self.time_s = 0.0
        self.seconds_a_token = seconds_a_token

    def set_threads(self, n_threads: int) -> None:
        self.n_threads = n_threads

    def decode(self, n_tokens: int) -> bool:
        self.time_s += n_tokens * self.seconds_a_token
        return True


class Place:
    def __init__(self, seconds_a_token: float = 0.001) -> None:
        self.native = Native(seconds_a_token)
        self.threads = Fewer(4)
        self.pacer = Pacer(
            threads=self.threads,
            chunks=ChunkSizer(n_batch=512),
            lanes=Lanes(None, has_background_thread=False),
            now=lambda: self.native.time_s,
        )

    def run(
        self,
        n_tokens: int,
        priority: Priority = Priority.NORMAL,
        *,
        is_whole: bool = True,
        repeatable: bool = False,
    ) -> int:
        """The threads that the batch got."""
        self.pacer.run(
            lambda: self.native.decode(n_tokens),
            self.native,
            n_tokens=n_tokens,
            priority=priority,
            is_whole=lambda _: is_whole,
            repeatable=repeatable,
        )
        return self.native.n_threads


def test_a_batch_gets_the_chosen_threads_and_its_time_is_learnt() -> None:
    place = Place()
    assert place.run(8, Priority.BACKGROUND) == 3
    [(n_threads, n_tokens, wall_s, background)] = place.threads.seen
    assert (n_threads, n_tokens, background) == (3, 8, True)
    assert wall_s == pytest.approx(0.008)


def test_an_aborted_batch_teaches_nothing() -> None:
    place = Place()
    place.run(8, is_whole=False)
    assert place.threads.seen == []


def test_single_tokens_that_must_be_repeatable_always_have_the_same_number_of_threads() -> None:
    place = Place()
    assert place.run(1, repeatable=True) == 4
    assert place.run(1) == 3


def test_a_limit_bounds_also_what_is_repeatable() -> None:
    place = Place()
    assert place.pacer.limit(2) == 2
    assert place.run(1, repeatable=True) == 2
    assert place.pacer.limit(None) == 4


@pytest.mark.parametrize(
    ("seconds_a_token", "alone", "beside_writers"),
    [(0.0001, 256, 256), (0.005, 64, 32), (0.02, 16, 8), (1.0, 8, 8)],
)
def test_chunks_have_one_size_unless_they_take_too_long_or_no_time_at_all(
    seconds_a_token: float, alone: int, beside_writers: int
) -> None:
    place = Place(seconds_a_token)
    assert place.pacer.chunk_tokens(Priority.NORMAL, False) == CHUNK_TOKENS
    for _ in range(12):
        place.run(place.pacer.chunk_tokens(Priority.NORMAL, False))
    assert place.pacer.chunk_tokens(Priority.NORMAL, False) == alone
    assert place.pacer.chunk_tokens(Priority.NORMAL, True) == beside_writers


def test_threads_that_only_feed_a_gpu_are_not_varied() -> None:
    pacer = make_pacer(max_threads=4, n_batch=512, on_gpu=True, process=None)
    native = Native()
    seen = set()
    for _ in range(50):
        pacer.run(lambda: True, native, n_tokens=1, priority=Priority.NORMAL, is_whole=lambda _: True)
        seen.add(native.n_threads)
    pacer.close()
    assert seen == {4}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's scheduling classes")
def test_background_batches_run_under_the_lowest_class_and_others_do_not() -> None:
    pacer = make_pacer(max_threads=2, n_batch=512, on_gpu=False, process=None)
    native = Native()

    def policy(priority: Priority) -> int:
        return pacer.run(
            lambda: os.sched_getscheduler(0), native, n_tokens=1, priority=priority, is_whole=lambda _: True
        )

    try:
        assert policy(Priority.BACKGROUND) == os.SCHED_IDLE
        assert policy(Priority.NORMAL) == policy(Priority.INTERACTIVE) == os.sched_getscheduler(0)
    finally:
        pacer.close()
