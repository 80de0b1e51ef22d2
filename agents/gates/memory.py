"""Whether enough is remembered about something: results that hold all words of a query, as whole words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agents.gates.finding import Finding
from agents.triggers import MemoryGate


class Remembered(Protocol):
    """The part of the store that gates ask."""

    async def count_remembered(self, words: Sequence[str]) -> int:
        """Results whose title, summary and action items together hold all the words, whole and in whichever letter case."""
        ...


async def check_memory(gate: MemoryGate, remembered: Remembered) -> Finding:
    words = tuple(dict.fromkeys(gate.query.split()))
    if not words:
        return Finding(is_open=False, detail="the gate names no words to look for")
    count = await remembered.count_remembered(words)
    things = "1 thing is" if count == 1 else f"{count:,} things are"
    detail = f"{things} remembered about “{' '.join(words)}”"
    if count >= gate.at_least:
        return Finding(is_open=True, detail=detail)
    return Finding(is_open=False, detail=f"{detail}, not {gate.at_least:,}")
