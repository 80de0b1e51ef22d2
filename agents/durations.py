"""How long, in words that Hearth says and that an agent's file may hold: "90 minutes". Pure."""

from __future__ import annotations

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def duration_in_words(seconds: float, *, each: bool = False) -> str:
    """In the largest unit that fits without a rest: "90 minutes". With `each`, one of it goes without a number: "hour"."""
    for size, unit in _UNITS:
        amount, rest = divmod(seconds, size)
        # a single day is 24 hours, whatever the clock does
        if rest == 0 and amount >= (2 if unit == "day" else 1):
            if amount == 1 and each:
                return unit
            return f"{amount:.0f} {unit}" + ("" if amount == 1 else "s")
    return f"{seconds:.12g} seconds"
