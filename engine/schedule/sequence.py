"""The tokens of one request and how far they are computed; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from engine.core import Priority
from engine.schedule.slots import Slot


class Stage(StrEnum):
    """Where a sequence is between its arrival and its end."""

    WAITING = "waiting"  # nothing of it is in the context
    RUNNING = "running"  # it has a slot
    SWAPPED = "swapped"  # it gave way: its state is kept outside the context
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class PinPoint:
    """Where the pinned prefix of a prompt ends, in tokens."""

    name: str
    n_tokens: int


@dataclass(kw_only=True, eq=False)
class Sequence:
    """The tokens of one request: the prompt, then what was generated. n_computed chases their number."""

    request_id: str
    tokens: list[int] = field(repr=False)
    n_prompt: int
    n_computed: int = 0
    priority: Priority = Priority.NORMAL
    arrival: int = 0  # a running number: who came first
    pin: PinPoint | None = None
    keeps: bool = True  # what it computed stays at hand when it has ended
    stage: Stage = Stage.WAITING
    slot: Slot | None = None
    n_cached: int | None = None  # tokens that needed no computing, once it has begun
    progress_s: float = 0.0  # when it last got on, by the loop's clock

    @property
    def n_generated(self) -> int:
        """Tokens after the prompt."""
        return len(self.tokens) - self.n_prompt

    @property
    def n_pending(self) -> int:
        """Tokens that are still to be computed."""
        return len(self.tokens) - self.n_computed

    @property
    def seniority(self) -> tuple[int, int]:
        """Smaller comes first and is never put aside for a larger one."""
        return self.priority, self.arrival

    def check_integrity(self) -> None:
        """Raise if the counters contradict each other; that would be a bug, not bad input."""
        if not 0 <= self.n_computed <= len(self.tokens) or self.n_prompt > len(self.tokens):
            raise RuntimeError(f"sequence counters are inconsistent: {self!r} of {len(self.tokens)} tokens")
        if (self.slot is not None) != (self.stage is Stage.RUNNING):
            raise RuntimeError(f"a sequence's stage contradicts its slot: {self!r}")


def common_prefix(left: list[int], right: list[int], limit: int | None = None) -> int:
    """How many leading tokens two lists share, at most limit. Compared by slices, that is in C."""
    high = min(len(left), len(right)) if limit is None else min(len(left), len(right), limit)
    low = 0
    size = 32  # most pairs differ early: look there first
    while low < high:
        middle = min(low + size, high)
        if left[low:middle] == right[low:middle]:
            low = middle
            size *= 4
        else:
            high = middle - 1
            size = max((high - low + 1) // 2, 1)
    return low
