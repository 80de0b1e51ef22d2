"""What tests of the store need besides the shared fixtures: keys, fingerprints of files, a database to spoil."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from agents.clock import SystemClock
from agents.core import NewOccurrence
from agents.credentials import KeyKind, ResolvedKey
from agents.storage import Store
from agents.triggers import TriggerKind
from tests.agents.conftest import definition_of

KEY = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(range(32)))
OTHER_KEY = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32))
PASSPHRASE = ResolvedKey(kind=KeyKind.PASSPHRASE, passphrase='it\'s a "blåbær"; --')
NO_KEY = ResolvedKey(kind=KeyKind.NONE)

DUE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def fingerprints(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its bytes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def occurrence(
    agent_id: int, key: str, *, path: Path | None = None, content_hash: str | None = None
) -> NewOccurrence:
    return NewOccurrence(
        agent_id=agent_id,
        trigger=TriggerKind.FILE_CHANGED,
        key=key,
        due_at=DUE,
        path=path,
        content_hash=content_hash,
    )


async def fill(path: Path, key: ResolvedKey, *, runs: int = 40) -> None:
    """A closed database with an agent and some pending runs."""
    store = await Store.open(path, key, clock=SystemClock())
    agent = await store.agents.add(definition_of(Path("/inbox")), "the source")
    for number in range(runs):
        await store.runs.record(occurrence(agent.id, f"file:{number}", path=Path(f"/inbox/{number}.txt")))
    await store.close()


async def count_pending(path: Path, key: ResolvedKey) -> int:
    store = await Store.open(path, key, clock=SystemClock())
    try:
        return sum((await store.runs.counts()).values())
    finally:
        await store.close()
