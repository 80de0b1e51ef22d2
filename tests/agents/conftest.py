"""Factories for tests of the runtime: a real store with a throw-away key, a fixed clock, an agent with a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.core import Agent, AgentDefinition, AgentKind, NewOccurrence
from agents.credentials import KeyKind, ResolvedKey
from agents.storage import Store
from agents.triggers import FileTrigger, TriggerKind


class FakeClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.count_s = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.count_s

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.count_s += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    opened = await Store.open(home / "hearth.db", key, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
async def agent(store: Store, folder: Path) -> Agent:
    return await store.agents.add(definition_of(folder), "source")


def definition_of(folder: Path, *, name: str = "Document digest", model: str = "built-in") -> AgentDefinition:
    return AgentDefinition(
        name=name,
        description="Digests.",
        kind=AgentKind.DIGEST,
        triggers=(FileTrigger(folders=(folder,)),),
        read_folders=(folder,),
        model=model,
    )


def occurrence_of(
    agent: Agent, path: Path, clock: FakeClock, content_hash: str | None = None
) -> NewOccurrence:
    return NewOccurrence(
        agent_id=agent.id,
        trigger=TriggerKind.FILE_CHANGED,
        key=f"file:{path}:{content_hash}",
        due_at=clock.now(),
        path=path,
        content_hash=content_hash,
    )
