"""What one llama_decode call computes: runs of tokens of several sequences; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from engine.core import Priority
from engine.schedule.sequence import Sequence


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring tokens of one sequence in a batch; the last n_drafts are guesses."""

    sequence: Sequence
    start: int
    tokens: list[int] = field(repr=False)
    n_drafts: int = 0

    @property
    def n_outputs(self) -> int:
        """Rows of logits that are wanted: none while a prompt is read, one for a token, and one for each guess."""
        known = self.start + len(self.tokens) - self.n_drafts
        return self.n_drafts + 1 if known == len(self.sequence.tokens) else 0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """All runs share one call."""

    runs: tuple[Run, ...]
    priority: Priority = Priority.INTERACTIVE  # of the class that it serves

    @property
    def n_tokens(self) -> int:
        """Tokens of all runs."""
        return sum(len(run.tokens) for run in self.runs)


class Outcome(StrEnum):
    """How a batch ended."""

    DONE = "done"
    ABORTED = "aborted"  # nothing of it is in the cache
    NO_ROOM = "no_room"  # the cache has no cells for it; nothing of it is in the cache
