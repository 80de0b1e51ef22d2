"""How many runs an agent, and the whole house, may have in an hour and in a day; and when a limit that is used up allows one more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Protocol

from agents.clock import Clock
from agents.core import Agent
from agents.policies import Budget

HOUR = timedelta(hours=1)
_JUST_AFTER = timedelta(microseconds=1)  # the ledger's unit: a run of exactly an hour ago still counts


class RunCounts(Protocol):
    """The part of the ledger that counts runs."""

    async def runs_since(self, agent_id: int | None, since: datetime) -> int: ...

    async def nth_newest_run(self, agent_id: int | None, n: int) -> datetime | None: ...


class HouseBudget(Protocol):
    async def budget(self) -> Budget:
        """What all agents together may use up."""
        ...


@dataclass(frozen=True, kw_only=True)
class UsedUp:
    """A limit that allows no other run now: the sentence for the user, and when it does again."""

    reason: str
    opens_at: datetime


class RunLimits:
    """Counts anew each time that it is asked."""

    def __init__(self, *, counts: RunCounts, house: HouseBudget, clock: Clock) -> None:
        self._counts = counts
        self._house = house
        self._clock = clock

    async def used_up(self, agent: Agent) -> UsedUp | None:
        """The limit that keeps the agent waiting longest, its own or the house's; None when it may run."""
        now = self._clock.now()
        found = [
            *await self._of(agent.id, agent.definition.policy.budget, f"“{agent.name}”", now),
            *await self._of(None, await self._house.budget(), "All agents together", now),
        ]
        return max(found, key=lambda limit: limit.opens_at, default=None)

    async def _of(self, agent_id: int | None, budget: Budget, who: str, now: datetime) -> list[UsedUp]:
        found = []
        most = budget.runs_per_hour
        if most is not None and await self._counts.runs_since(agent_id, now - HOUR) >= most:
            opens_at = await self._hour_opens(agent_id, most, now)
            found.append(UsedUp(reason=_sentence(who, most, "an hour"), opens_at=opens_at))
        most = budget.runs_per_day
        if most is not None and await self._counts.runs_since(agent_id, start_of_day(now)) >= most:
            found.append(UsedUp(reason=_sentence(who, most, "a day"), opens_at=next_day(now)))
        return found

    async def _hour_opens(self, agent_id: int | None, most: int, now: datetime) -> datetime:
        """When fewer than `most` runs are in the last hour: usually once the oldest leaves it, later if there were more than allowed."""
        blocking = await self._counts.nth_newest_run(agent_id, most) if most > 0 else None
        if blocking is None:  # none is allowed, until somebody changes that
            return now + HOUR
        # The clock may have been set back since that run: then this is looked at again in an hour.
        return min(blocking, now) + HOUR + _JUST_AFTER


def start_of_day(now: datetime) -> datetime:
    """When the user's calendar day began, by the machine's own zone."""
    return datetime.combine(now.astimezone().date(), time()).astimezone()  # by the offset of then, not of now


def next_day(now: datetime) -> datetime:
    """When the user's next calendar day begins."""
    return datetime.combine(now.astimezone().date() + timedelta(days=1), time()).astimezone()


def _sentence(who: str, most: int, span: str) -> str:
    return f"{who} may run {most} {'time' if most == 1 else 'times'} {span}, and did."
