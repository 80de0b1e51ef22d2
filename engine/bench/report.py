"""Writes the result: JSON for programs, an aligned table for people; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.bench.core import Row
from engine.bench.machine import Machine


def as_json(machine: Machine, rows: Sequence[Row]) -> dict[str, Any]:
    """The form that all of Hearth's benchmarks share. ratio: how many times better than the peer."""
    return {"machine": machine.as_json(), "rows": [_row_as_json(row) for row in rows]}


def _row_as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "ours": _rounded(row.ours_median),
        "peer": _rounded(row.peer_median),
        "ratio": _rounded(row.ratio),
        "unit": row.unit,
        "goal": str(row.goal) if row.goal is not None else None,
        "met": row.met,
    }


def _rounded(value: float | None) -> float | None:
    """Four significant digits: more would only be noise."""
    return None if value is None else float(f"{value:.4g}")


_HEADINGS = ("row", "Hearth", "peer", "ratio", "goal", "")
_RIGHT = (1, 2, 3)


def as_text(machine: Machine, rows: Sequence[Row]) -> str:
    """A table with one line a row, and under it what the rows mean and what else was seen."""
    lines = [machine.in_words(), ""]
    lines += _table([_HEADINGS, *map(_cells, rows)])
    if any(_lacks_peer(row) for row in rows):
        lines += ["", "no peer: that goal is about a ratio; --peer names a program to compare with."]
    lines += ["", "ratio: how many times better than the peer; ±: half the distance between the extremes."]
    lines += ["", *(line for row in rows for line in _explained(row))]
    return "\n".join(lines)


def missed_sentence(rows: Sequence[Row]) -> str | None:
    """Which goals were missed; None when none was."""
    missed = [row.name for row in rows if row.met is False]
    if not missed:
        return None
    return f"{len(missed)} of {sum(row.met is not None for row in rows)} goals missed: {', '.join(missed)}."


def progress_line(row: Row) -> str:
    """One finished row, for somebody who waits."""
    ratio = "" if row.ratio is None else f", {row.ratio:.2f} x {row.peer_name}"
    return f"{row.name}: {_value(row.ours_median)} {row.unit}{ratio}"


def _cells(row: Row) -> tuple[str, ...]:
    verdict = "no peer" if _lacks_peer(row) else {None: "", True: "met", False: "MISSED"}[row.met]
    return (
        row.name,
        f"{_measured(row.ours, row.ours_median)} {row.unit}",
        f"{_measured(row.peer, row.peer_median)} {row.unit}" if row.peer else "–",
        f"{row.ratio:.2f}" if row.ratio is not None else "–",
        _goal(row),
        verdict,
    )


def _lacks_peer(row: Row) -> bool:
    return row.goal is not None and row.goal.min_ratio is not None and not row.peer


def _goal(row: Row) -> str:
    if row.goal is None:
        return "–"
    if row.goal.min_ratio is not None:
        return f"ratio ≥ {row.goal.min_ratio:.3g}"
    return f"≤ {row.goal.max_ours:.3g} {row.unit}"


def _measured(samples: Sequence[float], middle: float | None) -> str:
    spread = f" ±{_value((max(samples) - min(samples)) / 2)}" if len(samples) > 1 else ""
    return _value(middle) + spread


def _value(value: float | None) -> str:
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _explained(row: Row) -> list[str]:
    against = f" (peer: {row.peer_name})" if row.peer_name else ""
    return [f"{row.name}: {row.meaning}{against}.", *(f"    {note}" for note in row.notes)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return [
        "  ".join(
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
