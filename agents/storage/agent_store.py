"""Agents and the revisions of their definitions."""

from __future__ import annotations

import builtins

from sqlite_utils import Database

from agents.clock import Clock
from agents.core import Agent, AgentDefinition, Revision
from agents.errors import Conflict, NotFound
from agents.storage.driver import Row, UniqueError, insert, row, rows
from agents.storage.due_ledger import drop_rows_of
from agents.storage.file_store import forget_files
from agents.storage.ledger import cancel_pending_of
from agents.storage.values import (
    definition_from_json,
    definition_to_json,
    from_us,
    name_key,
    to_text,
    to_text_or_none,
    to_us,
    trigger_to_json,
)
from agents.storage.writer import Writer

_AGENT = """
    SELECT a.id, a.revision, a.paused, a.paused_reason, a.created_us, r.id AS revision_id, r.source, r.definition
    FROM agents a JOIN agent_revisions r ON r.agent_id = a.id AND r.number = a.revision
    WHERE a.removed_us IS NULL
"""


class AgentStore:
    """Agents by name (upper and lower case are the same) and by id; a removed one is hidden from both."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def add(self, definition: AgentDefinition, source: str) -> Agent:
        """Stores a new agent with its first revision; Conflict when its name is taken."""
        now = to_us(self._clock.now())

        def job(db: Database) -> Agent:
            name = to_text(definition.name)
            values: Row = {"name": name, "name_key": name_key(name), "revision": 1, "created_us": now}
            try:
                agent_id = insert(db, "agents", values)
            except UniqueError:
                raise Conflict(
                    f"There is already an agent named {definition.name!r}; choose another name or replace it."
                ) from None
            _insert_revision(db, agent_id, 1, definition, source, now)
            return _agent(db, agent_id)

        return await self._writer.write(job)

    async def revise(self, agent_id: int, definition: AgentDefinition, source: str) -> Agent:
        """Stores a new revision of the same agent; Conflict when it would change the name by more than its case."""
        now = to_us(self._clock.now())

        def job(db: Database) -> Agent:
            agent = _agent(db, agent_id)
            if name_key(agent.name) != name_key(definition.name):
                raise Conflict(
                    f"A revision can't rename the agent {agent.name!r} to {definition.name!r}; add a new agent instead."
                )
            number = agent.revision + 1
            _insert_revision(db, agent_id, number, definition, source, now)
            db.execute(
                "UPDATE agents SET revision = ?, name = ?, fresh_us = ? WHERE id = ?",
                (number, to_text(definition.name), now, agent_id),
            )
            return _agent(db, agent_id)

        return await self._writer.write(job)

    async def get(self, name: str) -> Agent:
        def job(db: Database) -> Agent:
            found = row(db, _AGENT + " AND a.name_key = ?", (name_key(name),))
            if found is None:
                raise NotFound(f"There is no agent named {name!r}; `hearth agents list` shows all.")
            return _agent_from(db, found)

        return await self._writer.read(job)

    async def by_id(self, agent_id: int) -> Agent:
        return await self._writer.read(lambda db: _agent(db, agent_id))

    async def list(self) -> builtins.list[Agent]:
        """All agents, by name."""

        def job(db: Database) -> list[Agent]:
            return [_agent_from(db, found) for found in rows(db, _AGENT + " ORDER BY a.name_key")]

        return await self._writer.read(job)

    async def set_paused(self, agent_id: int, paused: bool, *, reason: str | None = None) -> Agent:
        """Pauses an agent, with the reason when it was not the user who did; or lets it run again, its failures forgotten."""
        now = to_us(self._clock.now())

        def job(db: Database) -> Agent:
            if paused:
                why = to_text_or_none(reason)
                db.execute("UPDATE agents SET paused = 1, paused_reason = ? WHERE id = ?", (why, agent_id))
            else:
                db.execute(
                    "UPDATE agents SET paused = 0, paused_reason = NULL, fresh_us = ? WHERE id = ?",
                    (now, agent_id),
                )
            return _agent(db, agent_id)

        return await self._writer.write(job)

    async def remove(self, agent_id: int) -> None:
        """Hides an agent and frees its name. Its pending runs and due times end; its runs and results stay readable.

        A run that is being worked on is left to its owner; given back or recovered, it ends as cancelled too.
        """
        now = to_us(self._clock.now())

        def job(db: Database) -> None:
            _agent(db, agent_id)
            db.execute("UPDATE agents SET removed_us = ? WHERE id = ?", (now, agent_id))
            cancel_pending_of(db, agent_id, now_us=now)
            drop_rows_of(db, agent_id, now_us=now)
            forget_files(db, agent_id)

        await self._writer.write(job)

    async def revisions(self, agent_id: int) -> builtins.list[Revision]:
        """Every version of an agent, oldest first, also of a removed one."""

        def job(db: Database) -> list[Revision]:
            found = rows(db, "SELECT * FROM agent_revisions WHERE agent_id = ? ORDER BY number", (agent_id,))
            return [_revision_from(values) for values in found]

        return await self._writer.read(job)

    async def revision(self, revision_id: int) -> Revision:
        return await self._writer.read(lambda db: _revision_from(_revision(db, revision_id)))

    async def definition(self, revision_id: int) -> AgentDefinition:
        """What a revision says, also of a removed agent."""

        def job(db: Database) -> AgentDefinition:
            return _definition_from(db, revision_id, _revision(db, revision_id)["definition"])

        return await self._writer.read(job)


def _insert_revision(
    db: Database, agent_id: int, number: int, definition: AgentDefinition, source: str, now_us: int
) -> None:
    values: Row = {
        "agent_id": agent_id,
        "number": number,
        "source": to_text(source),
        "definition": definition_to_json(definition),
        "created_us": now_us,
    }
    revision_id = insert(db, "agent_revisions", values)
    for seq, trigger in enumerate(definition.triggers, start=1):
        db.execute(
            "INSERT INTO triggers (revision_id, seq, kind, spec) VALUES (?, ?, ?, ?)",
            (revision_id, seq, trigger.on, trigger_to_json(trigger)),
        )


def _agent(db: Database, agent_id: int) -> Agent:
    found = row(db, _AGENT + " AND a.id = ?", (agent_id,))
    if found is None:
        raise NotFound(f"There is no agent with the id {agent_id}; it may have been removed.")
    return _agent_from(db, found)


def _agent_from(db: Database, found: Row) -> Agent:
    return Agent(
        id=found["id"],
        revision_id=found["revision_id"],
        revision=found["revision"],
        paused=bool(found["paused"]),
        paused_reason=found["paused_reason"],
        created_at=from_us(found["created_us"]),
        source=found["source"],
        definition=_definition_from(db, found["revision_id"], found["definition"]),
    )


def _definition_from(db: Database, revision_id: int, definition: str) -> AgentDefinition:
    triggers = rows(db, "SELECT kind, spec FROM triggers WHERE revision_id = ? ORDER BY seq", (revision_id,))
    return definition_from_json(definition, [(trigger["kind"], trigger["spec"]) for trigger in triggers])


def _revision(db: Database, revision_id: int) -> Row:
    found = row(db, "SELECT * FROM agent_revisions WHERE id = ?", (revision_id,))
    if found is None:
        raise NotFound(f"There is no revision {revision_id}.")
    return found


def _revision_from(found: Row) -> Revision:
    return Revision(
        id=found["id"],
        agent_id=found["agent_id"],
        number=found["number"],
        created_at=from_us(found["created_us"]),
        source=found["source"],
    )
