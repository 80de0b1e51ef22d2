"""Homes that are made for a measurement: a real encrypted database, agents in it, and many old runs where that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agents.clock import Clock
from agents.core import Agent, AgentDefinition, AgentKind
from agents.credentials import KeyOptions, ResolvedKey, remember_key, resolve_key
from agents.paths import HomePaths
from agents.policies import Overlap, OverlapPolicy, RunPolicy
from agents.storage import Store
from agents.storage.opening import open_database
from agents.storage.values import to_us
from agents.triggers import CronTrigger, IntervalTrigger, Trigger

DAY_S = 86_400.0
FIRST_OLD_ID = 1_000_000


@asynccontextmanager
async def new_home(folder: Path, clock: Clock) -> AsyncIterator[tuple[HomePaths, ResolvedKey, Store]]:
    """A home with a key file beside it, and its open store."""
    paths = HomePaths(folder / "home")
    paths.root.mkdir(mode=0o700)
    key = await asyncio.to_thread(resolve_key, paths, KeyOptions(key_file=key_file(folder)))
    store = await Store.open(paths.database, key, clock=clock)
    try:
        await asyncio.to_thread(remember_key, paths, key)
        yield paths, key, store
    finally:
        await store.close()


def key_file(folder: Path) -> Path:
    """Where the key of a home in `folder` lies."""
    return folder / "key"


async def add_agents(store: Store, triggers: Sequence[Trigger]) -> None:
    """One agent for each trigger."""
    for index, trigger in enumerate(triggers):
        definition = AgentDefinition(
            name=f"Agent {index}",
            description="Wakes, and has nothing to do.",
            kind=AgentKind.WRITE,
            triggers=(trigger,),
            read_folders=(),
            policy=RunPolicy(overlap=Overlap(policy=OverlapPolicy.QUEUE)),  # every due time is to be measured
        )
        await store.agents.add(definition, "")


def spread_over_a_day(n_agents: int, dues_per_day: int) -> list[Trigger]:
    """Half of them by the clock, half in intervals; all together due so often in 24 hours, at all times of the day."""
    each = max(1, dues_per_day // n_agents)
    triggers: list[Trigger] = []
    for index in range(n_agents):
        if index % 2:
            first = index % (24 - each + 1) if each < 24 else 0
            hours = "*" if each >= 24 else f"{first}-{first + each - 1}"
            triggers.append(CronTrigger(schedule=f"{index * 7 % 60} {hours} * * *", zone="UTC"))
        else:
            triggers.append(IntervalTrigger(every_s=DAY_S / each - n_agents + index))
    return triggers


_OLD_ROWS = (
    "INSERT INTO occurrences (id, agent_id, trigger, key, due_us, status, created_us)"
    " VALUES (:id, :agent, 'cron', 'old:' || :id, :at, 'succeeded', :at)",
    "INSERT INTO runs (id, occurrence_id, agent_id, revision_id, due_us, status, attempt, model, created_us, started_us,"
    " finished_us) VALUES (:id, :id, :agent, :revision, :at, 'succeeded', 1, 'm', :at, :at, :at)",
    "INSERT INTO steps (run_id, seq, key, kind, title, status, output, prompt_tokens, completion_tokens, started_us,"
    " finished_us) VALUES (:id, 1, 'write', 'model', 'Writing', 'succeeded', '\"text\"', 900, 80, :at, :at)",
    "INSERT INTO results (run_id, title, summary, action_items, category, created_us)"
    " VALUES (:id, 'A title of some words', 'A summary of one sentence.', '[]', 'text', :at)",
)


def add_old_runs(paths: HomePaths, key: ResolvedKey, *, agents: Sequence[Agent], count: int) -> None:
    """Runs of the past with a step and a result each, written as rows, since living through them would take days.

    Nobody else may have the database open.
    """
    end = datetime.now(UTC)
    db = open_database(paths.database, key)
    try:
        with db.atomic():
            for index in range(count):
                agent = agents[index % len(agents)]
                at_us = to_us(end - timedelta(minutes=count - index))
                values = {
                    "id": FIRST_OLD_ID + index,
                    "agent": agent.id,
                    "revision": agent.revision_id,
                    "at": at_us,
                }
                for statement in _OLD_ROWS:
                    db.execute(statement, values)
    finally:
        db.close()
