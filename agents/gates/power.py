"""Whether the computer is plugged in, or has no battery; pure."""

from __future__ import annotations

from agents.gates.finding import Finding


def check_power(on_ac: bool | None) -> Finding:
    """None is a computer that does not tell, as those without a battery don't."""
    if on_ac is None:
        return Finding(is_open=True, detail="the computer knows of no battery")
    if on_ac:
        return Finding(is_open=True, detail="the computer is plugged in")
    return Finding(is_open=False, detail="the computer runs on battery")
