"""What the ledger tells of files: which content was read under which name, and which was gone before it could be."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from agents.storage.driver import rows
from agents.storage.values import from_path


def paths_read(db: Database, agent_id: int, content_hash: str) -> list[Path]:
    """Where the agent has read that content. A run that is not over counts once it has kept the text: no rename can harm it.

    What a storm's one run tells about, or will, counts too: it is told by name and not read.
    """
    found = rows(
        db,
        """
        SELECT DISTINCT path FROM occurrences o
        WHERE agent_id = ? AND content_hash = ? AND path IS NOT NULL
            AND (status IN ('succeeded', 'unverified') OR status IN ('pending', 'running') AND EXISTS (
                SELECT 1 FROM runs r JOIN steps s ON s.run_id = r.id
                WHERE r.occurrence_id = o.id AND s.kind = 'read' AND s.status = 'succeeded'))
        UNION
        SELECT f.path FROM occurrence_files f JOIN occurrences o ON o.id = f.occurrence_id
        WHERE o.agent_id = ? AND f.content_hash = ?
            AND o.status NOT IN ('missed', 'skipped', 'failed', 'cancelled')
        ORDER BY path
        """,
        (agent_id, content_hash, agent_id, content_hash),
    )
    return [from_path(values["path"]) for values in found]


def lost_versions(db: Database, agent_id: int) -> set[tuple[Path, str]]:
    """Path and hash of each version that was gone when its run came, unless it was tried again or read elsewhere since."""
    found = rows(
        db,
        """
        SELECT o.path, o.content_hash FROM runs r JOIN occurrences o ON o.id = r.occurrence_id
        WHERE r.agent_id = ? AND r.error_code = 'file_gone' AND o.path IS NOT NULL AND o.content_hash IS NOT NULL
            AND NOT EXISTS (
                SELECT 1 FROM occurrences later
                WHERE later.agent_id = o.agent_id AND later.content_hash = o.content_hash AND later.id > o.id
                    AND (later.path = o.path OR later.status IN ('succeeded', 'unverified')))
        """,
        (agent_id,),
    )
    return {(from_path(values["path"]), values["content_hash"]) for values in found}
