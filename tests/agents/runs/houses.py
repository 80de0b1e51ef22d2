"""A run manager in its surroundings, for tests: a real store, a scripted engine, and the events that were published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents import contract
from agents.core import Agent, Run, RunStatus
from agents.events import EventBus
from agents.models.local import EnginePool
from agents.runs.digest import digest_document
from agents.runs.executing import Workflow
from agents.runs.manager import RunManager
from agents.storage import Store
from engine.core import JsonSchema, Request
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec
from tests.agents.conftest import FakeClock, occurrence_of

DOCUMENT = (
    "# Spring\n\nThe bill was 640 euros. Piotr must replace the valve. Ana will write the invitation.\n"
)


def first_choice(request: Request) -> str:
    """Answers any schema of the digest with the first thing that it allows."""

    def pick(schema: dict) -> object:
        if "enum" in schema:
            return schema["enum"][0]
        if schema["type"] == "array":
            return [pick(item) for item in schema["prefixItems"]]
        return {name: pick(value) for name, value in schema["properties"].items()}

    assert isinstance(request.constraint, JsonSchema)
    return json.dumps(pick(dict(request.constraint.schema)))


class House:
    """A run manager with its surroundings, and the events it published."""

    def __init__(
        self, store: Store, clock: FakeClock, engine: ScriptedEngine, workflow: Workflow, **more: Any
    ) -> None:
        self.store = store
        self.engine = engine
        self.bus = EventBus(clock)
        self.events: list[contract.EventData] = []
        pool = EnginePool(
            default=ModelSpec(path=Path("/nowhere"), name="scripted"),
            make_engine=lambda _: engine,
            on_status=lambda *_: None,
        )
        self.trouble: list[str | None] = []
        self.manager = RunManager(
            store=store,
            engines=pool,
            bus=self.bus,
            owner="me",
            workflow=workflow,
            on_change=self._noted,
            on_store_trouble=self.trouble.append,
            clock=clock,
            on_given_up=self._given_up,
            **more,
        )
        self.given_up: list[str] = []
        self.noted: list[str] = []

    async def _noted(self, name: str) -> None:
        self.noted.append(name)

    async def _given_up(self, sentence: str) -> None:
        self.given_up.append(sentence)

    async def listen(self) -> None:
        async for event in self.bus.subscribe():
            self.events.append(event.data)

    async def until(self, run: Run, *statuses: RunStatus) -> Run:
        async with asyncio.timeout(10):
            while (now := await self.store.runs.get(run.id)).status not in statuses:
                await asyncio.sleep(0.01)
        return now


@asynccontextmanager
async def house(
    store: Store,
    clock: FakeClock,
    engine: ScriptedEngine,
    workflow: Workflow = digest_document,
    **more: Any,
) -> AsyncIterator[House]:
    made = House(store, clock, engine, workflow, **more)
    listener = asyncio.create_task(made.listen())
    await asyncio.sleep(0)
    await made.manager.start()
    try:
        yield made
    finally:
        await made.manager.stop()
        made.bus.close()
        await listener


async def record(store: Store, agent: Agent, path: Path, clock: FakeClock) -> Run:
    run = await store.runs.record(occurrence_of(agent, path, clock))
    assert run is not None
    return run
