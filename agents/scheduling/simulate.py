"""What an agent's timed triggers would do over a week, past or to come. Pure: nothing is armed and nothing runs."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile

from agents.core import AgentDefinition
from agents.errors import UsageProblem
from agents.scheduling.due_times import Due, dues_after
from agents.triggers import TimedTrigger, trigger_key


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One due time and the trigger that it belongs to."""

    due: Due
    trigger: TimedTrigger


def simulate(
    definition: AgentDefinition,
    *,
    start: datetime,
    end: datetime | None,
    limit: int,
    anchors: Mapping[str, datetime] | None = None,
) -> list[Firing]:
    """The first `limit` due times in (start, end], of all timed triggers together; without an end, as far as they go.

    `anchors` is what intervals count from, by trigger key; without it they count from `start`, as if armed then.
    Raises UsageProblem for a schedule or a zone that is not understood (any more).
    """
    dues = heapq.merge(
        *(
            _firings(trigger, start, (anchors or {}).get(trigger_key(trigger), start))
            for trigger in dict.fromkeys(definition.timed_triggers)
        ),
        key=lambda firing: firing.due.at,
    )
    return list(islice(takewhile(lambda firing: end is None or firing.due.at <= end, dues), limit))


def _firings(trigger: TimedTrigger, start: datetime, anchor: datetime) -> Iterator[Firing]:
    try:
        dues = dues_after(trigger, after=start, anchor=anchor)
    except ValueError as refusal:
        raise UsageProblem(str(refusal)) from None
    return (Firing(due=due, trigger=trigger) for due in dues)
