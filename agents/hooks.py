"""Webhooks of the local API: a program's call becomes a due time of the one agent that waits for it.

Runs in: the runtime's event loop. A call that has been taken is a row on the disk.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from agents import contract
from agents.clock import Clock
from agents.core import Agent, NewOccurrence, Occurrence
from agents.errors import Conflict, NotFound
from agents.storage import Store
from agents.triggers import WebhookTrigger, trigger_key

Announce = Callable[[NewOccurrence], Awaitable[Occurrence | None]]


class Hooks:
    """The hooks of all agents, as their definitions are now."""

    def __init__(self, *, store: Store, clock: Clock, announce: Announce) -> None:
        """`announce` stores what is due now and sees that it is looked at; None when its key is there already."""
        self._store = store
        self._clock = clock
        self._announce = announce

    async def call(self, hook: str, payload: Any, *, once: str | None) -> contract.HookTaken:
        """Takes a call with its JSON `payload`. A call with the same `once` as an earlier one changes nothing."""
        agent, trigger = await self._waiting_for(hook)
        if agent.paused:
            raise Conflict(f"“{agent.name}”, which this hook wakes, is paused; resume it first.")
        woken_by = trigger_key(trigger)
        key = f"{woken_by}:{f'once:{once}' if once else uuid.uuid4().hex}"
        occurrence = await self._announce(
            NewOccurrence(
                agent_id=agent.id,
                trigger=trigger.on,
                trigger_key=woken_by,
                key=key,
                due_at=self._clock.now(),
                input=payload,
            )
        )
        if occurrence is None:
            first = await self._store.schedule.find(agent.id, key)
            first_id = None if first is None else first.id
            return contract.HookTaken(agent=agent.name, occurrence_id=first_id, repeated=True)
        return contract.HookTaken(agent=agent.name, occurrence_id=occurrence.id)

    async def _waiting_for(self, hook: str) -> tuple[Agent, WebhookTrigger]:
        for agent in await self._store.agents.list():
            for trigger in agent.definition.triggers:
                if isinstance(trigger, WebhookTrigger) and trigger.hook == hook:
                    return agent, trigger
        raise NotFound(
            f"No agent waits for a hook named “{hook}”; `hearth agents list` shows what wakes each."
        )
