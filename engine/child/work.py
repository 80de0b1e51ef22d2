"""One request in the child: its tokens, its answer in the making, and how often it was in a batch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.core import Request
from engine.schedule.sequence import Sequence
from engine.text.generation import Generation


@dataclass(kw_only=True, eq=False)
class Work:
    """From Submit to Done or Failed."""

    request: Request
    sequence: Sequence
    generation: Generation
    n_batches: int = 0
    is_told: bool = False  # whether its first text has left
