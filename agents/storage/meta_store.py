"""Small facts about the home itself, by key."""

from __future__ import annotations

from sqlite_utils import Database

from agents.storage.driver import row
from agents.storage.writer import Writer


class MetaStore:
    """Text by key; who writes a key owns its meaning."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def get(self, key: str) -> str | None:
        def job(db: Database) -> str | None:
            found = row(db, "SELECT value FROM meta WHERE key = ?", (key,))
            return None if found is None else str(found["value"])

        return await self._writer.read(job)

    async def set(self, key: str, value: str) -> None:
        def job(db: Database) -> None:
            db.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

        await self._writer.write(job)
