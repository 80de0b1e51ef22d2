"""Keeps one future row in the ledger for each timed trigger of each agent that is to work, and no other.

Runs in: the runtime's event loop, under the scheduler's lock.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from agents.core import Agent, NewOccurrence, Occurrence
from agents.scheduling.misfire import GRACE
from agents.scheduling.plan import next_row
from agents.scheduling.ports import DueTimes
from agents.triggers import CronTrigger, IntervalTrigger, OnceTrigger, TimedTrigger, TriggerKind, trigger_key

TIMED = frozenset({TriggerKind.CRON, TriggerKind.INTERVAL, TriggerKind.ONCE})

KNOWN_AHEAD = 5_000  # rows of the future that are looked through for one without a row; with more, the next look goes on

TriggerId = tuple[int, str]
"""The id of an agent, and the key of one of its triggers."""

log = logging.getLogger(__name__)


class Arming:
    """Compares what should be armed with what is."""

    def __init__(self, store: DueTimes) -> None:
        self._store = store
        self.agents: dict[int, Agent] = {}  # those that may work, by id
        self._triggers: dict[TriggerId, TimedTrigger] = {}

    def set_agents(self, agents: Sequence[Agent]) -> None:
        """Takes all agents of the home; paused ones are to have nothing armed."""
        self.agents = {agent.id: agent for agent in agents if not agent.paused}
        self._triggers = {
            (agent.id, trigger_key(trigger)): trigger
            for agent in self.agents.values()
            for trigger in agent.definition.timed_triggers
        }

    def trigger_of(self, row: Occurrence) -> TimedTrigger | None:
        """The timed trigger that a row came from, if its agent still has it."""
        return self._triggers.get((row.agent_id, row.trigger_key or ""))

    def after(self, rows: Sequence[Occurrence], now: datetime) -> list[NewOccurrence]:
        """The next future row of each timed trigger that these rows came from."""
        anchors = {(row.agent_id, row.trigger_key or ""): row.due_at for row in rows if self.trigger_of(row)}
        return self._next(anchors, anchors, now)

    def passed(self, rows: Sequence[Occurrence], now: datetime) -> list[Occurrence]:
        """Of rows that are due, those whose trigger is late: it was not in time for them, or for later ones without a row."""
        newest: dict[TriggerId, datetime] = {}
        late: set[TriggerId] = set()
        for row in rows:
            if self.trigger_of(row) is not None:
                key = (row.agent_id, row.trigger_key or "")
                newest[key] = max(row.due_at, newest.get(key, row.due_at))
                if now - row.due_at > GRACE:
                    late.add(key)
        for key, due_at in newest.items():
            trigger = self._triggers[key]
            if now - due_at >= shortest_span(trigger):
                following = next_row(key[0], trigger, after=due_at, anchor=due_at)
                if following is not None and following.due_at <= now:
                    late.add(key)
        return [row for row in rows if (row.agent_id, row.trigger_key) in late]

    async def reconcile(self, now: datetime, *, replan: bool = False) -> bool:
        """Withdraws what is not wanted any more and plans what lacks; False when something could not be planned yet.

        `replan` also withdraws rows that lie beyond the next due time, as after the clock was set back, and lets due times that were
        missed ahead of now come again. One that has another row already (it ran before the clock was set back) is not planned
        again: the trigger's first one without a row is.
        """
        armed = await self._store.armed()
        gone = self._unwanted(armed, now)
        if replan:
            await self._store.take_back_future()
            for agent_id, keys in self._too_far(armed, now).items():
                gone[agent_id] |= keys
        for agent_id, keys in gone.items():
            await self._store.withdraw(agent_id, keep=self._keys_of(agent_id) - keys)
        left = {
            (row.agent_id, row.trigger_key)
            for row in armed
            if row.due_at <= now or row.trigger_key not in gone[row.agent_id]
        }
        lacking = self._triggers.keys() - left
        if not lacking:
            return True
        anchors = await self._store.anchors()
        rows = self._next(lacking, anchors, now)
        if not rows or await self._store.plan(rows) == len(rows):
            return True
        return await self._plan_beyond(lacking, anchors, now)

    async def _plan_beyond(
        self, lacking: Iterable[TriggerId], anchors: Mapping[TriggerId, datetime], now: datetime
    ) -> bool:
        """For triggers whose next due time has come before: the first one after it that has not."""
        armed = {(row.agent_id, row.trigger_key) for row in await self._store.armed()}
        rows = []
        for key in lacking:
            if key in armed:
                continue
            known = await self._known_ahead(key, now)
            anchor = anchors.get(key, now)
            row = next_row(key[0], self._triggers[key], after=now, anchor=anchor)
            while row is not None and row.key in known:
                row = next_row(key[0], self._triggers[key], after=row.due_at, anchor=anchor)
            if row is not None:
                rows.append(row)
        return await self._store.plan(rows) == len(rows)

    async def _known_ahead(self, key: TriggerId, now: datetime) -> set[str]:
        agent_id, name = key
        rows = await self._store.list(agent=self.agents[agent_id].name, since=now, limit=KNOWN_AHEAD)
        return {row.key for row in rows if (row.agent_id, row.trigger_key) == (agent_id, name)}

    def _keys_of(self, agent_id: int) -> set[str]:
        return {key for owner, key in self._triggers if owner == agent_id}

    def _unwanted(self, armed: Sequence[Occurrence], now: datetime) -> defaultdict[int, set[str]]:
        found: defaultdict[int, set[str]] = defaultdict(set)
        for row in armed:
            if row.due_at > now and row.trigger in TIMED and self.trigger_of(row) is None:
                found[row.agent_id].add(row.trigger_key or "")
        return found

    def _too_far(self, armed: Sequence[Occurrence], now: datetime) -> Mapping[int, set[str]]:
        found: defaultdict[int, set[str]] = defaultdict(set)
        for row in armed:
            trigger = self.trigger_of(row)
            if trigger is None or row.due_at <= now:
                continue
            following = next_row(row.agent_id, trigger, after=now, anchor=row.due_at)
            if following is not None and following.due_at < row.due_at:
                found[row.agent_id].add(row.trigger_key or "")
        return found

    def _next(
        self, wanted: Iterable[TriggerId], anchors: Mapping[TriggerId, datetime], now: datetime
    ) -> list[NewOccurrence]:
        rows = (
            next_row(key[0], self._triggers[key], after=now, anchor=anchors.get(key, now)) for key in wanted
        )
        return [row for row in rows if row is not None]


def shortest_span(trigger: TimedTrigger) -> timedelta:
    """No two due times of the trigger are closer: until so much has passed, there is nothing to compute."""
    match trigger:
        case CronTrigger():
            return timedelta(minutes=1)
        case IntervalTrigger(every_s=every_s):
            return timedelta(seconds=every_s)
        case OnceTrigger():
            return timedelta.max
