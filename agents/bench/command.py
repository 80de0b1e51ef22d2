"""Reads the command line, takes the measurements one after another, and leaves nothing behind.

Exit codes: 0 no goal missed · 1 a goal missed, or a measurement failed · 2 wrong usage · 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil

from agents.bench.core import BenchFailed, Row, Scale, full_scale, quick_scale
from agents.bench.report import as_json, as_text, describe_machine, missed_sentence, progress_line
from agents.bench.rows.day import measure_burst, measure_day
from agents.bench.rows.history import measure_history
from agents.bench.rows.idle import measure_idle
from agents.errors import HearthError

Measurement = Callable[[Path, Scale], Awaitable[list[Row]]]

MEASUREMENTS: dict[str, tuple[tuple[str, ...], Measurement]] = {
    "day": (("due_to_claimed", "due_to_started", "lost_or_doubled"), measure_day),
    "burst": (("burst_claimed",), measure_burst),
    "idle": (("idle_cpu", "idle_rss"), measure_idle),
    "history": (("start_old_runs", "history_page"), measure_history),
}


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    names = [name for rows, _ in MEASUREMENTS.values() for name in rows]
    parser = argparse.ArgumentParser(
        prog="hearth bench scheduler", description="Measure Hearth's schedule and its ledger."
    )
    parser.add_argument("--row", action="append", default=[], choices=names, help="only this row")
    parser.add_argument("--quick", action="store_true", help="a short look; the numbers are rougher")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    wish = _arguments(arguments)
    scale = quick_scale() if wish.quick else full_scale()
    machine = describe_machine()
    try:
        rows = asyncio.run(_measure(scale, frozenset(wish.row)))
    except (BenchFailed, HearthError) as error:
        _say(error)
        return 1
    except (OSError, psutil.Error) as error:  # a runtime that ended meanwhile, or a wait that took too long
        _say(
            f"A measurement could not be taken ({type(error).__name__}); look at the machine's load and try again."
        )
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write((json.dumps(as_json(machine, rows)) if wish.json else as_text(machine, rows)) + "\n")
    missed = missed_sentence(rows)
    if missed:
        _say(missed)
    return 1 if missed else 0


async def _measure(scale: Scale, only: frozenset[str]) -> list[Row]:
    rows: list[Row] = []
    for names, measurement in MEASUREMENTS.values():
        if only and not only & set(names):
            continue
        with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:  # a socket's path has to be short
            found = await measurement(Path(folder), scale)
        for row in found:
            if not only or row.name in only:
                _say(progress_line(row))
                rows.append(row)
    return rows


def _say(sentence: object) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
