"""What was last known of each agent's watched files."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from agents.core import FileState
from agents.storage.driver import Row, rows
from agents.storage.values import from_path, to_path
from agents.storage.writer import Writer


class FileStore:
    """One row per agent and path."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def known(self, agent_id: int) -> dict[Path, FileState]:
        def job(db: Database) -> dict[Path, FileState]:
            found = rows(db, "SELECT * FROM file_states WHERE agent_id = ?", (agent_id,))
            return {state.path: state for state in map(_state_from, found)}

        return await self._writer.read(job)

    async def put(self, agent_id: int, state: FileState) -> None:
        await self._writer.write(lambda db: put_file_state(db, agent_id, state))

    async def forget(self, agent_id: int, path: Path) -> None:
        def job(db: Database) -> None:
            db.execute("DELETE FROM file_states WHERE agent_id = ? AND path = ?", (agent_id, to_path(path)))

        await self._writer.write(job)


def put_file_state(db: Database, agent_id: int, state: FileState) -> None:
    db.execute(
        """
        INSERT INTO file_states (agent_id, path, size_bytes, mtime_ns, inode, content_hash) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (agent_id, path) DO UPDATE SET size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
            inode = excluded.inode, content_hash = excluded.content_hash
        """,
        (
            agent_id,
            to_path(state.path),
            state.size_bytes,
            state.mtime_ns,
            str(state.inode),
            state.content_hash,
        ),
    )


def _state_from(found: Row) -> FileState:
    return FileState(
        path=from_path(found["path"]),
        size_bytes=found["size_bytes"],
        mtime_ns=found["mtime_ns"],
        inode=int(found["inode"]),
        content_hash=found["content_hash"],
    )


def forget_files(db: Database, agent_id: int) -> None:
    db.execute("DELETE FROM file_states WHERE agent_id = ?", (agent_id,))
