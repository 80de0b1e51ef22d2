"""Runs and due times as a person reads them on a terminal: tables, a timeline, two runs side by side; pure."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from app.cli.output import (
    GAP_COLUMNS,
    ago,
    columns_of,
    cut,
    describe_costs,
    elide,
    file_name,
    one_line,
    pad,
    pairs,
    paragraph,
    rate,
    table,
    terminal_columns,
    took,
)

if TYPE_CHECKING:
    from datetime import datetime

    from agents.contract import OccurrenceDetail, OccurrenceInfo, ResultInfo, RunDetail, RunInfo

_AGENT_COLUMNS, _FILE_COLUMNS, _SHORT_FILE_COLUMNS = 24, 32, 12
_RESULT_COLUMNS = 20  # that the result gets before any other column is spared


def describe_runs(found: list[RunInfo], *, columns: int | None = None) -> str:
    """A table for so many columns (default: the terminal's): no name is so long that no room is left for the result."""
    width = columns or terminal_columns()
    cells: dict[str, list[str]] = {
        "ID": [str(run.id) for run in found],
        "STATUS": [run.status for run in found],
        "WHEN": [ago(run.finished_at or run.started_at or run.created_at) for run in found],
        "TOOK": [took(run.started_at, run.finished_at) for run in found],
        "SPEED": [rate(run.tokens_per_s) for run in found],
        "AGENT": [elide(one_line(run.agent), _AGENT_COLUMNS) for run in found],
        "FILE": [elide(_about(run), _FILE_COLUMNS) for run in found],
        "RESULT": [run.title or run.reason or "" for run in found],
    }
    file_columns = 0
    for spared in ("", "SPEED", "TOOK", "AGENT", "WHEN"):
        cells.pop(spared, None)
        taken = sum(
            _width(heading, texts) + GAP_COLUMNS
            for heading, texts in cells.items()
            if heading not in ("FILE", "RESULT")
        )
        file_columns = width - taken - GAP_COLUMNS - _RESULT_COLUMNS
        if file_columns >= min(_SHORT_FILE_COLUMNS, _width("FILE", cells["FILE"])):
            break
    cells["FILE"] = [elide(name, max(_SHORT_FILE_COLUMNS, file_columns)) for name in cells["FILE"]]
    right = [number for number, heading in enumerate(cells) if heading in ("ID", "TOOK", "SPEED")]
    return table(list(cells), list(zip(*cells.values(), strict=True)), right=right, columns=width)


def _about(run: RunInfo) -> str:
    """What it was about: a file, or what a hook's call brought."""
    return one_line(run.brought) if run.brought and not run.file else file_name(run.file)


def _width(heading: str, texts: list[str]) -> int:
    return max(columns_of(text) for text in (heading, *texts))


def describe_run(run: RunDetail) -> str:
    from app.cli.narrate import describe_result, describe_step

    lines = [f"Run {run.id}", pairs(_facts(run))]
    if run.steps:
        began = run.started_at or run.steps[0].started_at
        lines += ["", "Steps"]
        lines += [
            f"  {_after(began, step.started_at)} {describe_step(step, costs=True).lstrip()}"
            for step in run.steps
        ]
    if run.result is not None:
        lines += ["", "Result", describe_result(run.result)]
    return "\n".join(lines)


def describe_occurrences(found: list[OccurrenceInfo], *, columns: int | None = None) -> str:
    """A table of due times, with what became of each; a reason too long for `columns` stands whole below its line."""
    rows = [
        (
            str(each.id),
            each.status.replace("_", " "),
            f"{each.due_at.astimezone():%Y-%m-%d %H:%M:%S}",
            each.trigger.replace("_", " "),
            each.agent,
            str(each.run_id or ""),
            _why(each),
        )
        for each in found
    ]
    headings = ("ID", "STATUS", "DUE", "TRIGGER", "AGENT", "RUN", "WHY")
    lines = table(headings, rows, right=(0, 5)).splitlines()
    if columns is None:
        return "\n".join(lines)
    told = [lines[0]]
    for line, row in zip(lines[1:], rows, strict=True):
        if columns_of(line) <= columns:
            told.append(line)
        else:
            rest = paragraph(row[-1], indent="    ", columns=columns)
            told += [line[: len(line) - len(one_line(row[-1]))].rstrip(), rest]
    return "\n".join(told)


def describe_occurrence(found: OccurrenceDetail) -> str:
    """One due time with what its gates said."""
    rows = [
        ("status", found.status.replace("_", " ")),
        *([("why", _why(found))] if _why(found) else []),
        ("agent", found.agent),
        ("trigger", found.trigger.replace("_", " ")),
        ("due", f"{found.due_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        *([("file", found.file)] if found.file else []),
        *_gates_and_delay(found),
        *([("run", f"{found.run_id} (`hearth runs show {found.run_id}`)")] if found.run_id else []),
    ]
    return "\n".join([f"Due time {found.id}", pairs(rows)])


def _why(found: OccurrenceInfo) -> str:
    return (found.reason or "") + (f" ({found.n_due:,} due times)" if found.n_due > 1 else "")


def _gates_and_delay(found: OccurrenceDetail) -> list[tuple[str, str]]:
    rows = []
    if found.claimed_at is not None:
        late_s = (found.claimed_at - found.due_at).total_seconds()
        rows.append(("claimed", f"{max(0.0, late_s):.1f} s after it was due"))
    return rows + [
        ("gate", f"{gate.gate.replace('_', ' ')}: {'open' if gate.open else 'closed'}, {gate.detail}")
        for gate in found.gates
    ]


def side_by_side(original: RunDetail, replay: RunDetail, *, columns: int | None = None) -> str:
    """Two runs of the same work, what they cost and what they wrote, each in its own column."""
    width = ((columns or terminal_columns()) - GAP_COLUMNS) // 2
    left, right = (_side(run, width) for run in (original, replay))
    return "\n".join(
        f"{pad(one, width + GAP_COLUMNS)}{other}".rstrip()
        for one, other in zip_longest(left, right, fillvalue="")
    )


def _side(run: RunDetail, columns: int) -> list[str]:
    facts = [
        f"Run {run.id}: {run.status}",
        f"revision {run.revision}, {run.model or 'no model'}",
        f"{run.tokens:,} tokens{f', {rate(run.tokens_per_s)}' if run.tokens_per_s else ''}",
        *([costs] if (costs := describe_costs(run)) else []),
    ]
    lines = [cut(one_line(fact), columns) for fact in facts]
    texts = [run.reason] if run.result is None else _texts(run.result)
    for text in texts:
        lines += ["", *paragraph(text or "No result.", columns=columns).splitlines()]
    return lines


def _texts(result: ResultInfo) -> list[str]:
    items = [f"- {item}" for item in result.action_items]
    return [result.title, result.summary, *items, f"category: {result.category}"]


def _facts(run: RunDetail) -> list[tuple[str, str]]:
    rows = [
        ("status", run.status + (f": {run.reason}" if run.reason else "")),
        ("agent", f"{run.agent}, revision {run.revision}"),
        ("file", run.file or "–"),
        ("trigger", run.trigger.replace("_", " ") + (f", {run.trigger_words}" if run.trigger_words else "")),
        *([("brought", one_line(run.brought))] if run.brought else []),
        ("due", f"{run.due_at.astimezone():%Y-%m-%d %H:%M:%S}"),
    ]
    if run.retry_of or run.replay_of:
        word = "retry of" if run.retry_of else "replay of"
        rows.append((word, f"run {run.retry_of or run.replay_of}"))
    if run.occurrence is not None:
        rows += _gates_and_delay(run.occurrence)
    rows += [
        ("begun", ago(run.started_at) + (f", attempt {run.attempt}" if run.attempt > 1 else "")),
        *([("again", ago(run.not_before))] if run.not_before else []),
        ("took", took(run.started_at, run.finished_at) or "–"),
        ("model", run.model or "–"),
        ("tokens", f"{run.tokens:,}" + (f", {rate(run.tokens_per_s)}" if run.tokens_per_s else "")),
        *([("costs", costs)] if (costs := describe_costs(run)) else []),
    ]
    return rows


def _after(began: datetime, moment: datetime) -> str:
    return pad(f"+{max(0.0, (moment - began).total_seconds()):.1f} s", 9, right=True)
