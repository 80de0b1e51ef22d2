"""Forgets old history, what is worth least first: due times without a run, what steps have kept, then whole runs.

What is not over stays, and so does what is still needed: a run that a newer one was made from, and the newest due time of a timed
trigger, from which the next one is counted. Work goes in small transactions, so that nobody waits for it. The room is used again; the file does not shrink.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlite_utils import Database

from agents.storage.driver import rows, scalar
from agents.storage.values import to_us
from agents.storage.writer import Writer

BATCH = 100  # rows of one transaction

_ENDED_RUN = "r.finished_us IS NOT NULL AND r.finished_us < :before"
_NOT_NEEDED = """
    (o.trigger NOT IN ('cron', 'interval', 'once') OR EXISTS (
        SELECT 1 FROM occurrences n
        WHERE n.agent_id = o.agent_id AND n.trigger_key = o.trigger_key AND n.trigger IN ('cron', 'interval', 'once')
            AND n.due_us > o.due_us))
"""
_WITH_OUTPUTS = f"""
    SELECT r.id FROM runs r
    WHERE {_ENDED_RUN} AND EXISTS (SELECT 1 FROM steps s WHERE s.run_id = r.id AND s.output IS NOT NULL)
    ORDER BY r.finished_us LIMIT :limit
"""  # noqa: S608
_OLD_RUNS = f"""
    SELECT r.id, r.occurrence_id FROM runs r JOIN occurrences o ON o.id = r.occurrence_id
    WHERE {_ENDED_RUN} AND {_NOT_NEEDED}
        AND NOT EXISTS (SELECT 1 FROM runs n WHERE n.retry_of = r.id)
        AND NOT EXISTS (SELECT 1 FROM runs n WHERE n.replay_of = r.id)
    ORDER BY r.finished_us LIMIT :limit
"""  # noqa: S608
_OLD_DUES = f"""
    SELECT o.id AS occurrence_id FROM occurrences o
    WHERE o.due_us < :before AND o.status IN ('missed', 'skipped', 'cancelled') AND {_NOT_NEEDED}
        AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.occurrence_id = o.id)
    ORDER BY o.due_us LIMIT :limit
"""  # noqa: S608
_OF_RUNS = ("steps", "results", "effects", "reservations")
_OF_DUES = ("gate_checks", "occurrence_files")


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """How much was forgotten: runs whose steps lost what they had kept, whole runs, and due times that had no run."""

    outputs: int = 0
    runs: int = 0
    dues: int = 0


class Retention:
    """Keeps the history to an age and a size."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def prune(
        self,
        *,
        older_than: datetime | None = None,
        keep_bytes: int | None = None,
        spare_since: datetime | None = None,
    ) -> Forgotten:
        """Forgets what ended before `older_than`; and, while the rows take more than `keep_bytes`, the oldest of the rest too.

        For the size's sake no due time and no run that ended after `spare_since` is forgotten; its steps' outputs may be. A run whose
        steps lost their outputs can still be read, but not be replayed.
        """
        forgotten = Forgotten()
        if older_than is not None:
            for forget in (_forget_runs, _forget_dues):
                forgotten = await self._all(forget, to_us(older_than), forgotten)
        if keep_bytes is not None:
            spared = _ANY_TIME if spare_since is None else to_us(spare_since)
            for forget, before in (
                (_forget_dues, spared),
                (_forget_outputs, _ANY_TIME),
                (_forget_runs, spared),
            ):
                forgotten = await self._all(forget, before, forgotten, keep_bytes=keep_bytes)
        return forgotten

    async def used_bytes(self) -> int:
        """What the rows take, room that is free to be used again left out."""
        return await self._writer.read(_used_bytes)

    async def _all(
        self,
        forget: Callable[[Database, int], Forgotten],
        before_us: int,
        so_far: Forgotten,
        *,
        keep_bytes: int | None = None,
    ) -> Forgotten:
        """Batch after batch, until nothing is left to forget or the rest fits."""

        def job(db: Database) -> Forgotten:
            if keep_bytes is not None and _used_bytes(db) <= keep_bytes:
                return Forgotten()
            return forget(db, before_us)

        while True:
            batch = await self._writer.write(job)
            if batch == Forgotten():
                return so_far
            so_far = replace(
                so_far,
                outputs=so_far.outputs + batch.outputs,
                runs=so_far.runs + batch.runs,
                dues=so_far.dues + batch.dues,
            )


_ANY_TIME = 2**62


def _forget_outputs(db: Database, before_us: int) -> Forgotten:
    found = rows(db, _WITH_OUTPUTS, {"before": before_us, "limit": BATCH})
    ids = json.dumps([values["id"] for values in found])
    db.execute("UPDATE steps SET output = NULL WHERE run_id IN (SELECT value FROM json_each(?))", (ids,))
    return Forgotten(outputs=len(found))


def _forget_runs(db: Database, before_us: int) -> Forgotten:
    found = rows(db, _OLD_RUNS, {"before": before_us, "limit": BATCH})
    run_ids = json.dumps([values["id"] for values in found])
    for table in _OF_RUNS:
        db.execute(f"DELETE FROM {table} WHERE run_id IN (SELECT value FROM json_each(?))", (run_ids,))  # noqa: S608
    db.execute("DELETE FROM runs WHERE id IN (SELECT value FROM json_each(?))", (run_ids,))
    _drop_dues(db, [values["occurrence_id"] for values in found])
    return Forgotten(runs=len(found))


def _forget_dues(db: Database, before_us: int) -> Forgotten:
    found = rows(db, _OLD_DUES, {"before": before_us, "limit": BATCH})
    _drop_dues(db, [values["occurrence_id"] for values in found])
    return Forgotten(dues=len(found))


def _drop_dues(db: Database, ids: list[int]) -> None:
    plain = json.dumps(ids)
    for table in _OF_DUES:
        db.execute(
            f"DELETE FROM {table} WHERE occurrence_id IN (SELECT value FROM json_each(?))",  # noqa: S608
            (plain,),
        )
    db.execute("DELETE FROM occurrences WHERE id IN (SELECT value FROM json_each(?))", (plain,))


def _used_bytes(db: Database) -> int:
    # SQLCipher gives the size of a page as text.
    pages = int(scalar(db, "PRAGMA page_count")) - int(scalar(db, "PRAGMA freelist_count"))
    return pages * int(scalar(db, "PRAGMA page_size"))
