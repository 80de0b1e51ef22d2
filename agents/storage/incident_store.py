"""What went wrong with Hearth itself, for the user to look back at."""

from __future__ import annotations

import builtins
from datetime import datetime

from sqlite_utils import Database

from agents.core import Incident
from agents.storage.driver import insert, rows
from agents.storage.values import from_us, to_text, to_us
from agents.storage.writer import Writer

KEPT = 1_000


class IncidentStore:
    """The newest thousand incidents."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def add(self, kind: str, detail: str, at: datetime) -> Incident:
        """`kind` is a stable word, `detail` one sentence without private text."""

        def job(db: Database) -> Incident:
            values = {"kind": kind, "detail": to_text(detail), "at_us": to_us(at)}
            incident_id = insert(db, "incidents", values)
            db.execute("DELETE FROM incidents WHERE id <= ?", (incident_id - KEPT,))
            return Incident(id=incident_id, kind=kind, detail=to_text(detail), at=at)

        return await self._writer.write(job)

    async def list(self, limit: int = 50) -> builtins.list[Incident]:
        """Newest first."""

        def job(db: Database) -> list[Incident]:
            found = rows(db, "SELECT * FROM incidents ORDER BY id DESC LIMIT ?", (limit,))
            return [
                Incident(
                    id=values["id"],
                    kind=values["kind"],
                    detail=values["detail"],
                    at=from_us(values["at_us"]),
                )
                for values in found
            ]

        return await self._writer.read(job)
