"""Durations as people write them ("15 minutes", "1 hour 30 minutes", 900), and back."""

from __future__ import annotations

import re

from agents.durations import duration_in_words
from agents.front_matter import Fields, refuse

_UNITS = {
    "day": 86_400,
    "days": 86_400,
    "d": 86_400,
    "hour": 3_600,
    "hours": 3_600,
    "h": 3_600,
    "minute": 60,
    "minutes": 60,
    "min": 60,
    "m": 60,
    "second": 1,
    "seconds": 1,
    "sec": 1,
    "s": 1,
}
_NUMBER = r"\d{1,12}(?:\.\d{1,20})?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_PART = re.compile(rf"({_NUMBER}) ?([a-z]+)", re.ASCII)
_WORDS = re.compile(rf"{_NUMBER} ?[a-z]+(?: {_NUMBER} ?[a-z]+)*", re.ASCII)


def read_duration(fields: Fields, key: str, limits_s: tuple[float, float]) -> float:
    """The seconds under `key`: a number of them, or numbers with units."""
    written = fields.written(key, max_chars=100)
    seconds = parse_duration(written.value)
    if seconds is None:
        refuse(written.line, f"'{key}' must be a time such as '15 minutes', '2 hours' or '90 seconds'.")
    low, high = limits_s
    if not low <= seconds <= high:
        refuse(
            written.line,
            f"'{key}' must be between {duration_in_words(low)} and {duration_in_words(high)}.",
        )
    return seconds


def parse_duration(text: str) -> float | None:
    """In seconds; None where the text is no duration."""
    if _PLAIN.fullmatch(text):
        return float(text)
    text = text.lower()
    if not _WORDS.fullmatch(text):
        return None
    parts = _PART.findall(text)
    if any(unit not in _UNITS for _, unit in parts):
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def render_duration(seconds: float) -> str | float:
    """What parse_duration reads as exactly this many seconds."""
    return duration_in_words(seconds) if seconds >= 1 and seconds == int(seconds) else seconds
