"""Steps of a run: begun, ended, and never executed again once their output is stored.

Runs in: store thread, inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlite_utils import Database

from agents.core import RunStatus, Step, StepKind, StepStatus, StepUsage
from agents.errors import Conflict, NotFound
from agents.storage.conversation_store import usage_from
from agents.storage.driver import Row, insert, row, rows, scalar
from agents.storage.run_rows import get_run
from agents.storage.values import from_json, from_us, from_us_or_none, to_json, to_text, to_text_or_none


def begin_step(db: Database, run_id: int, *, key: str, kind: StepKind, title: str, now_us: int) -> Step:
    """Begins a step, or returns it with its output when an earlier attempt finished it."""
    run = get_run(db, run_id)
    if run.status is not RunStatus.RUNNING:
        raise Conflict(f"Run {run_id} is {run.status}; it can't begin a step.")
    found = row(db, "SELECT * FROM steps WHERE run_id = ? AND key = ?", (run_id, key))
    if found is None:
        seq = scalar(db, "SELECT coalesce(max(seq), 0) + 1 FROM steps WHERE run_id = ?", (run_id,))
        values: Row = {
            "run_id": run_id,
            "seq": seq,
            "key": key,
            "kind": kind,
            "title": to_text(title),
            "status": StepStatus.RUNNING,
            "started_us": now_us,
        }
        return _step(db, insert(db, "steps", values))
    if found["status"] != StepStatus.SUCCEEDED:
        db.execute(
            """
            UPDATE steps SET kind = ?, title = ?, status = ?, detail = NULL, error = NULL, started_us = ?, finished_us = NULL
            WHERE id = ?
            """,
            (kind, to_text(title), StepStatus.RUNNING, now_us, found["id"]),
        )
    return _step(db, found["id"])


def finish_step(
    db: Database,
    step_id: int,
    *,
    output: Any,
    detail: str | None,
    usage: StepUsage,
    route: str | None = None,
    now_us: int,
) -> Step:
    _require_running(_step(db, step_id), StepStatus.SUCCEEDED)
    db.execute(
        """
        UPDATE steps SET status = ?, output = ?, detail = ?, prompt_tokens = ?, completion_tokens = ?, prefill_s = ?,
            decode_s = ?, energy_j = ?, cost_usd = ?, route = ?, finished_us = ?
        WHERE id = ?
        """,
        (
            StepStatus.SUCCEEDED,
            to_json(output),
            to_text_or_none(detail),
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prefill_s,
            usage.decode_s,
            usage.energy_j,
            usage.cost_usd,
            route,
            now_us,
            step_id,
        ),
    )
    return _step(db, step_id)


def fail_step(db: Database, step_id: int, *, status: StepStatus, error: str, now_us: int) -> Step:
    if status not in (StepStatus.FAILED, StepStatus.INTERRUPTED):
        raise ValueError(f"a step does not fail as {status}")
    _require_running(_step(db, step_id), status)
    db.execute(
        "UPDATE steps SET status = ?, error = ?, finished_us = ? WHERE id = ?",
        (status, to_text(error), now_us, step_id),
    )
    return _step(db, step_id)


def close_open_steps(
    db: Database, run_id: int, status: StepStatus, *, error: str | None, now_us: int
) -> None:
    """Ends what was still open when its run ended or was given back."""
    db.execute(
        "UPDATE steps SET status = ?, error = ?, finished_us = ? WHERE run_id = ? AND status = ?",
        (status, to_text_or_none(error), now_us, run_id, StepStatus.RUNNING),
    )


def list_steps(db: Database, run_id: int) -> list[Step]:
    """In the order in which they were first begun; NotFound when there is no such run."""
    get_run(db, run_id)
    return [
        _step_from(found)
        for found in rows(db, "SELECT * FROM steps WHERE run_id = ? ORDER BY seq", (run_id,))
    ]


def lacks_outputs(db: Database, run_id: int) -> bool:
    """Whether what a finished step of the run made was forgotten. What made nothing has stored that."""
    forgotten = "SELECT id FROM steps WHERE run_id = ? AND status = ? AND output IS NULL LIMIT 1"
    return row(db, forgotten, (run_id, StepStatus.SUCCEEDED)) is not None


def _require_running(step: Step, target: StepStatus) -> None:
    if step.status is not StepStatus.RUNNING:
        raise Conflict(f"Step {step.seq} of run {step.run_id} is {step.status}; it can't become {target}.")


def _step(db: Database, step_id: int) -> Step:
    found = row(db, "SELECT * FROM steps WHERE id = ?", (step_id,))
    if found is None:
        raise NotFound(f"There is no step {step_id}.")
    return _step_from(found)


def _step_from(found: Row) -> Step:
    return Step(
        id=found["id"],
        run_id=found["run_id"],
        seq=found["seq"],
        key=found["key"],
        kind=StepKind(found["kind"]),
        title=found["title"],
        status=StepStatus(found["status"]),
        started_at=from_us(found["started_us"]),
        finished_at=from_us_or_none(found["finished_us"]),
        detail=found["detail"],
        error=found["error"],
        usage=replace(usage_from(found), energy_j=found["energy_j"], cost_usd=found["cost_usd"]),
        route=found["route"],
        output=None if found["output"] is None else from_json(found["output"]),
    )
