"""How the command line writes for people and for programs: tables, times, sizes, JSON; pure but for the three `print`s."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

_GAP = "  "
GAP_COLUMNS = len(_GAP)  # between two columns of a table
_NO_TERMINAL_COLUMNS = 100
# Overrides of the writing direction can make a name read as another one (Unicode TR 36).
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def say(text: str = "") -> None:
    """A line for a person, on stdout."""
    print(printable(text), flush=True)


def complain(sentence: str) -> None:
    """A sentence for a person, on stderr."""
    print(printable(sentence), file=sys.stderr, flush=True)


def emit(value: Any, *, compact: bool = False) -> None:
    """Contract models, or lists of them, as one JSON value on stdout; on one line when no person is looking."""
    from pydantic import TypeAdapter

    plain = TypeAdapter(Any).dump_python(value, mode="json")
    indent = 2 if sys.stdout.isatty() and not compact else None
    print(json.dumps(plain, ensure_ascii=False, indent=indent), flush=True)


def printable(text: str) -> str:
    """Text without control characters: names and answers come from outside, a terminal obeys what they hold."""
    return "".join(c for c in text if c in "\n\t" or not _is_control(c))


def one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or char in _DIRECTION_MARKS


# --- layout --------------------------------------------------------------------------------------


def terminal_columns() -> int:
    """Columns to fill: the terminal's, or a steady number where there is none, so that logs look alike."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _NO_TERMINAL_COLUMNS


def room() -> int | None:
    """The terminal's columns; None where no person looks, and nothing is to be cut."""
    return terminal_columns() if sys.stdout.isatty() else None


def columns_of(text: str) -> int:
    """Columns that a terminal needs: East Asian wide characters take two, combining ones none (Unicode TR 11)."""
    return sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """The text in at most so many columns, with an ellipsis where something was left out."""
    if columns_of(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_columns(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…" if columns > 0 else ""


def elide(text: str, columns: int) -> str:
    """The text in at most so many columns, shortened in its middle: a file's name keeps its beginning and its suffix."""
    if columns_of(text) <= columns:
        return text
    if columns <= 1:
        return "…" if columns == 1 else ""
    tail_columns = (columns - 1) // 2
    tail = ""
    for char in reversed(text):
        if columns_of(char + tail) > tail_columns:
            break
        tail = char + tail
    return cut(text, columns - columns_of(tail)) + tail


def pad(text: str, columns: int, *, right: bool = False) -> str:
    blanks = " " * max(0, columns - columns_of(text))
    return blanks + text if right else text + blanks


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    columns: int | None = None,
) -> str:
    """Aligned columns; the last one is cut where the line would be longer than `columns`, when that is given."""
    cells = [list(headings), *[[one_line(cell) for cell in row] for row in rows]]
    widths = [max(columns_of(row[i]) for row in cells) for i in range(len(headings))]
    lines = []
    for row in cells:
        parts = [pad(cell, widths[i], right=i in right) for i, cell in enumerate(row)]
        if columns is not None:
            before = sum(widths[:-1]) + GAP_COLUMNS * (len(widths) - 1)
            parts[-1] = cut(row[-1], max(12, columns - before))
        lines.append(_GAP.join(parts).rstrip())
    return "\n".join(lines)


def pairs(items: Sequence[tuple[str, str]], *, indent: str = "  ") -> str:
    """Names and values, aligned."""
    width = max((columns_of(name) for name, _ in items), default=0)
    return "\n".join(f"{indent}{pad(name, width)}{_GAP}{value}".rstrip() for name, value in items)


def paragraph(text: str, *, indent: str = "", first: str | None = None, columns: int | None = None) -> str:
    """Text wrapped to the terminal; `first` replaces the indent of its first line."""
    width = min(columns or terminal_columns(), 100)
    return "\n".join(
        textwrap.wrap(
            one_line(text),
            width=width,
            initial_indent=indent if first is None else first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


# --- words ---------------------------------------------------------------------------------------


def ago(then: datetime | None, now: datetime | None = None) -> str:
    """How far away a moment is: "just now", "3 min ago", "in 20 s"."""
    if then is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    distance = _distance(abs(seconds))
    if not distance:
        return "just now"
    return f"{distance} ago" if seconds > 0 else f"in {distance}"


def _distance(seconds: float) -> str:
    if seconds < 2:
        return ""
    for limit, unit_s, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def took(start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        return ""
    return duration((end - start).total_seconds())


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rate(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s:.1f} tok/s"


class _Costs(Protocol):
    @property
    def energy_j(self) -> float | None: ...
    @property
    def cost_usd(self) -> float: ...


def describe_costs(spent: _Costs) -> str:
    """Energy where a meter told it, and money where there was any: "120 J, $0.0042"."""
    energy = "" if spent.energy_j is None else f"{spent.energy_j:,.4g} J"
    money = f"${spent.cost_usd:.4f}" if spent.cost_usd else ""
    return ", ".join(part for part in (energy, money) if part)


def count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def file_name(path: str | None) -> str:
    return one_line(Path(path).name) if path else "–"
