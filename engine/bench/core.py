"""The nouns of the benchmark: who is measured, how often, and one row of the result; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Protocol

from engine.core import Request
from engine.status import EngineCounters


class BenchFailed(Exception):
    """A measurement can't be taken; str() is one sentence for the person who asked for it."""


class PeerUnavailable(BenchFailed):
    """A program to compare with does not start."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One whole answer and how long it took from sending the request."""

    text: str = field(repr=False)
    tokens: int
    wall_s: float
    cut: bool = False  # by the request's own limit of tokens


class Contender(Protocol):
    """A program that answers requests: Hearth's engine or a peer. One at a time is measured, the others idle."""

    @property
    def name(self) -> str: ...

    @property
    def concurrent(self) -> bool:
        """Whether it works on several requests at once."""
        ...

    async def open(self, *, n_parallel: int) -> None:
        """Be ready for so many requests at once; idempotent. Raises BenchFailed."""

    async def close(self) -> None:
        """End every process. Idempotent."""

    async def answer(self, request: Request) -> Answer:
        """Serve one request to its end. Raises BenchFailed."""
        ...

    async def first_token_s(self, request: Request) -> float:
        """Seconds from sending to the first text; the rest of the answer is given up. Raises BenchFailed."""
        ...

    async def settle(self) -> None:
        """Return when nothing is in work any more."""


class OwnEngine(Contender, Protocol):
    """Hearth's engine, which also tells what it counted."""

    @property
    def counters(self) -> EngineCounters: ...

    async def gaps_s(self, request: Request) -> list[float]:
        """Seconds between two tokens of one answer, as its reader sees them. Raises BenchFailed."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for the model. Raises BenchFailed."""
        ...

    async def reopen(self, *, speculate: bool = False) -> None:
        """End the child and start another that knows nothing but what lies on disk. Raises BenchFailed."""


class Embedder(Protocol):
    """A program that turns texts into vectors."""

    @property
    def name(self) -> str: ...

    async def open(self, *, n_parallel: int) -> None:
        """Be ready; idempotent. Raises BenchFailed."""

    async def close(self) -> None:
        """End every process. Idempotent."""

    async def embed(self, texts: Sequence[str]) -> None:
        """All texts as vectors. Raises BenchFailed."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a row must reach: a least ratio, or a greatest value of our own."""

    min_ratio: float | None = None
    max_ours: float | None = None

    def is_met(self, ours: float | None, ratio: float | None) -> bool | None:
        """None when there is nothing to compare with."""
        if self.min_ratio is not None:
            return None if ratio is None else ratio >= self.min_ratio
        if self.max_ours is not None and ours is not None:
            return ours <= self.max_ours
        return None

    def __str__(self) -> str:
        if self.min_ratio is not None:
            return f"ratio >= {self.min_ratio:g}"
        return f"ours <= {self.max_ours:g}" if self.max_ours is not None else ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result. Samples are in the order in which they were taken; ratio is "times better than the peer"."""

    name: str
    meaning: str  # one line for somebody who sees this for the first time
    unit: str
    ours: Sequence[float] = field(repr=False)
    peer: Sequence[float] = field(default=(), repr=False)
    peer_name: str | None = None
    higher_is_better: bool = True
    goal: Goal | None = None
    floor: float = (
        0.0  # values below it count as it in the ratio: a difference that can't be measured is none
    )
    notes: tuple[str, ...] = ()
    failed: bool = False  # something that must hold did not, such as that each answer is valid

    def beside(self, samples: Sequence[float]) -> Row:
        """The same row with our own samples."""
        return replace(self, ours=tuple(samples))

    @property
    def ours_median(self) -> float | None:
        return median(self.ours) if self.ours else None

    @property
    def peer_median(self) -> float | None:
        return median(self.peer) if self.peer else None

    @property
    def ratio(self) -> float | None:
        """Of the medians, at least 1 where ours is the better one; None without a peer."""
        if self.ours_median is None or self.peer_median is None:
            return None
        ours, peer = max(self.ours_median, self.floor), max(self.peer_median, self.floor)
        better, worse = (ours, peer) if self.higher_is_better else (peer, ours)
        return better / worse if worse > 0 else None

    @property
    def met(self) -> bool | None:
        """None when the row has no goal, or nothing to compare with."""
        if self.failed:
            return False
        return self.goal.is_met(self.ours_median, self.ratio) if self.goal is not None else None


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured: enough for a result, or a quick look."""

    repeat: int
    decode_tokens: int
    stream_tokens: int
    background_tokens: int
    prefix_tokens: int
    tool_calls: int
    queue_tokens: int
    texts: int
    fixed_work_s: float
    row_limit_s: float  # a row that took longer takes no further samples

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise ValueError("repeat must be 1 or more")


def full_scale(repeat: int = 5) -> Scale:
    """What goals are judged by."""
    return Scale(
        repeat=repeat,
        decode_tokens=128,
        stream_tokens=96,
        background_tokens=1000,
        prefix_tokens=2000,
        tool_calls=4,
        queue_tokens=64,
        texts=64,
        fixed_work_s=1.5,
        row_limit_s=60.0,
    )


def quick_scale(repeat: int = 2) -> Scale:
    """The same loads, fewer and shorter measurements."""
    return Scale(
        repeat=repeat,
        decode_tokens=48,
        stream_tokens=32,
        background_tokens=1000,
        prefix_tokens=2000,
        tool_calls=2,
        queue_tokens=24,
        texts=32,
        fixed_work_s=0.5,
        row_limit_s=10.0,
    )
