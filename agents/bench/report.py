"""Writes the result: JSON for programs, in the form that all of Hearth's benchmarks share, and an aligned table for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import psutil

from agents.bench.core import Row

_HEADINGS = ("row", "Hearth", "goal", "")


def describe_machine() -> dict[str, Any]:
    """The machine as it is now; looks at it for a second."""
    return {
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(psutil.getloadavg()[0], 2),
        "busy_percent": round(psutil.cpu_percent(1.0), 1),
    }


def as_json(machine: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    return {"machine": machine, "rows": [_row_as_json(row) for row in rows]}


def _row_as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "ours": None if row.ours is None else float(f"{row.ours:.4g}"),
        "peer": None,
        "ratio": None,
        "unit": row.unit,
        "goal": row.goal,
        "met": row.met,
    }


def as_text(machine: dict[str, Any], rows: Sequence[Row]) -> str:
    """A table with one line a row, and under it what the rows mean and what else was seen."""
    table = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADINGS))]
    lines = [
        f"{machine['cores']} cores, {machine['memory_gb']:.0f} GB, {machine['system']}, "
        f"load average {machine['load_average']:.1f}, {machine['busy_percent']:.0f} % busy before",
        "",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ),
        "",
    ]
    for row in rows:
        lines += [f"{row.name}: {row.meaning}.", *(f"    {note}" for note in row.notes)]
    return "\n".join(lines)


def missed_sentence(rows: Sequence[Row]) -> str | None:
    """Which goals were missed; None when none was."""
    missed = [row.name for row in rows if row.met is False]
    if not missed:
        return None
    return f"{len(missed)} of {sum(row.met is not None for row in rows)} goals missed: {', '.join(missed)}."


def progress_line(row: Row) -> str:
    """One finished row, for somebody who waits."""
    return f"{row.name}: {_value(row.ours)} {row.unit}"


def _cells(row: Row) -> tuple[str, ...]:
    goal = "–" if row.max_ours is None else f"≤ {row.max_ours:.3g} {row.unit}"
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    return row.name, f"{_value(row.ours)} {row.unit}", goal, verdict


def _value(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
