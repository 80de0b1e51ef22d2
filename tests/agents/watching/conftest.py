"""A watching service on real folders, with a store in memory that dedupes as the ledger does."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agents.clock import SystemClock
from agents.core import Agent, AgentDefinition, AgentKind, FileState, NewOccurrence
from agents.errors import HearthError
from agents.scheduling.alarm import Alarm
from agents.triggers import FileTrigger
from agents.watching.service import FileTriggerService

SETTLE_S = 0.1


class MemoryFiles:
    def __init__(self) -> None:
        self.states: dict[int, dict[Path, FileState]] = {}

    async def known(self, agent_id: int) -> dict[Path, FileState]:
        return dict(self.states.get(agent_id, {}))

    async def put(self, agent_id: int, state: FileState) -> None:
        self.states.setdefault(agent_id, {})[state.path] = state

    async def forget(self, agent_id: int, path: Path) -> None:
        self.states.get(agent_id, {}).pop(path, None)


class MemoryStore:
    """Survives a restart of the service, as the database does."""

    def __init__(self) -> None:
        self.files = MemoryFiles()
        self.runs = self
        self.occurrences: list[NewOccurrence] = []
        self.storms: list[tuple[NewOccurrence, list[FileState]]] = []
        self.own: set[tuple[Path, str]] = set()
        self.refuse: HearthError | None = None
        self._keys: set[tuple[int, str]] = set()
        self._paths: dict[tuple[int, str | None], list[Path]] = {}

    async def record(self, new: NewOccurrence, state: FileState) -> bool:
        if self.refuse is not None:
            raise self.refuse
        is_new = (new.agent_id, new.key) not in self._keys
        if is_new:
            self._keys.add((new.agent_id, new.key))
            self.occurrences.append(new)
            if new.path is not None:
                self._paths.setdefault((new.agent_id, new.content_hash), []).append(new.path)
        await self.files.put(new.agent_id, state)
        return is_new

    async def record_storm(self, new: NewOccurrence, states: Sequence[FileState]) -> bool:
        if self.refuse is not None:
            raise self.refuse
        is_new = (new.agent_id, new.key) not in self._keys
        if is_new:
            self._keys.add((new.agent_id, new.key))
            self.storms.append((new, list(states)))
        for state in states:
            await self.files.put(new.agent_id, state)
        return is_new

    async def own_files(self, agent_id: int) -> set[tuple[Path, str]]:
        return self.own

    async def handled_elsewhere(self, agent_id: int, content_hash: str) -> list[Path]:
        return list(self._paths.get((agent_id, content_hash), ()))

    async def lost_versions(self, agent_id: int) -> set[tuple[Path, str]]:
        return set()  # here each version is read the moment it is recorded

    def names(self) -> list[str]:
        """The names of the files that were handled each by itself, in order; one entry for each version."""
        return [new.path.name for new in self.occurrences if new.path is not None]

    def all_names(self) -> list[str]:
        """Of those in storms too."""
        return self.names() + [state.path.name for _, states in self.storms for state in states]


def make_agent(
    *folders: Path,
    agent_id: int = 1,
    settle_s: float = SETTLE_S,
    storm_files: int = 200,
    **changes: object,
) -> Agent:
    trigger = FileTrigger(folders=folders, settle_s=settle_s, storm_files=storm_files)
    definition = AgentDefinition(
        name=f"Digest {agent_id}",
        description="Reads.",
        kind=AgentKind.DIGEST,
        triggers=(trigger,),
        read_folders=folders,
    )
    agent = Agent(
        id=agent_id,
        revision_id=agent_id,
        revision=1,
        paused=False,
        created_at=datetime.now(UTC),
        source="",
        definition=definition,
    )
    return replace(agent, **changes)  # type: ignore[arg-type]


class Watching:
    """The service under test. `start` and `stop` may be called several times, as the runtime is."""

    def __init__(
        self,
        tmp_path: Path,
        *,
        folder: Path | None = None,
        store: Any = None,
        agent: Agent | None = None,
    ) -> None:
        self.folder = folder or tmp_path / "inbox"
        self.folder.mkdir(exist_ok=True)
        self.home = tmp_path / "home"
        self.home.mkdir(exist_ok=True)
        self.store = store or MemoryStore()
        self.notices: list[str] = []
        self.agent = agent or make_agent(self.folder)
        self.service: FileTriggerService | None = None
        self._alarm: Alarm | None = None

    async def start(
        self,
        agents: Sequence[Agent] | None = None,
        *,
        reconcile_interval_s: float = 60.0,
        limit_files: int = 50_000,
        make_observer: Callable[[], BaseObserver] = Observer,
    ) -> FileTriggerService:
        clock = SystemClock()
        self._alarm = Alarm(clock=clock)
        self._alarm.start()
        self.service = FileTriggerService(
            store=self.store,
            clock=clock,
            alarm=self._alarm,
            on_occurrence=self.store.record,
            on_storm=self.store.record_storm,
            on_notice=self.notices.append,
            home=self.home,
            reconcile_interval_s=reconcile_interval_s,
            hint_delay_s=0.02,
            limit_files=limit_files,
            make_observer=make_observer,
        )
        await self.service.set_agents([self.agent] if agents is None else agents)
        return self.service

    async def start_and_arm(self, **options: object) -> FileTriggerService:
        """Started, and the first look is over: from now on only hints and ticks make it look."""
        service = await self.start(**options)  # type: ignore[arg-type]
        await service.scan_now(self.agent.id)
        return service

    async def stop(self) -> None:
        if self.service is not None:
            await self.service.stop()
            self.service = None
        if self._alarm is not None:
            await self._alarm.stop()
            self._alarm = None

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"not in time; handled {self.store.names()}, told {self.notices}"
            )
            await asyncio.sleep(0.02)

    async def handled(self, *names: str) -> None:
        """Waits until exactly these versions were handled, in any order, and nothing follows for a while."""
        await self.until(lambda: len(self.store.names()) >= len(names))
        await self.quiet()
        assert sorted(self.store.names()) == sorted(names)

    async def quiet(self) -> None:
        """Long enough for a file that was just touched to be noticed, to settle and to be handled."""
        await asyncio.sleep(SETTLE_S + 0.25)


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Watching]:
    watching = Watching(tmp_path)
    yield watching
    await watching.stop()


@pytest.fixture
def agent_of() -> Callable[..., Agent]:
    return make_agent
