"""The rows that the ledger should have: the next due time of each trigger, and those that passed while nobody was there. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from agents.core import Agent, NewOccurrence, Occurrence
from agents.scheduling.due_times import count_between, dues_between, newest_dues, next_due
from agents.scheduling.misfire import sort_late
from agents.scheduling.wall_clock import find_zone
from agents.scheduling.words import moment_in_words
from agents.triggers import CronTrigger, OnceTrigger, TimedTrigger, trigger_key

OWN_ROWS = 100  # of a gap's due times, the newest that get a row each

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What to write about due times that have passed. Writing it twice changes nothing: keys are the same each time."""

    # To be planned and claimed; rows that are known already are among them.
    run: tuple[NewOccurrence, ...] = ()
    missed: tuple[tuple[NewOccurrence, str], ...] = ()  # new rows that are born missed, with their reason
    known_missed: Mapping[int, str]  # rows that are known already and won't run: their id, and the reason


def due_key(key_of_trigger: str, due_at: datetime) -> str:
    """Names one due time of one trigger; unique within its agent."""
    return f"{key_of_trigger}:{(due_at - _EPOCH) // _MICROSECOND}"


def next_row(
    agent_id: int, trigger: TimedTrigger, *, after: datetime, anchor: datetime
) -> NewOccurrence | None:
    """The row of the first due time later than `after`; None when there is none, or its schedule is not understood any more.

    `after` is the time that it is, not the newest row: a clock that was set back a year leaves no agent without a due time for a year.
    """
    try:
        due = next_due(trigger, after=after, anchor=anchor)
    except ValueError:  # it was checked when it was defined; a zone can vanish with the system's data
        return None
    return None if due is None else _row(agent_id, trigger, due.at)


def gap(agents: Sequence[Agent], armed: Sequence[Occurrence], *, now: datetime, zone: tzinfo = UTC) -> Gap:
    """What passed from the armed rows that are due until now, by each agent's misfire policy.

    Only an armed row promises anything: an agent that was paused or new has none, so nothing of that time is called missed.
    `zone` is the user's, for the words of triggers that have none.
    """
    known: defaultdict[tuple[int, str], list[Occurrence]] = defaultdict(list)
    for row in armed:
        if row.trigger_key is not None and row.due_at <= now:
            known[row.agent_id, row.trigger_key].append(row)
    by_id = {agent.id: agent for agent in agents}
    gaps = [
        _gap_of(by_id[agent_id], trigger, rows, now, zone)
        for (agent_id, key), rows in known.items()
        if agent_id in by_id and (trigger := _trigger_of(by_id[agent_id], key)) is not None
    ]
    return Gap(
        run=tuple(row for each in gaps for row in each.run),
        missed=tuple(row for each in gaps for row in each.missed),
        known_missed={id_: reason for each in gaps for id_, reason in each.known_missed.items()},
    )


def _trigger_of(agent: Agent, key: str) -> TimedTrigger | None:
    return next((trigger for trigger in agent.definition.timed_triggers if trigger_key(trigger) == key), None)


def _gap_of(
    agent: Agent, trigger: TimedTrigger, known: Sequence[Occurrence], now: datetime, zone: tzinfo
) -> Gap:
    misfire = agent.definition.policy.misfire
    first = min(row.due_at for row in known)
    own = _newest_after(trigger, first, now, max(OWN_ROWS, misfire.at_most))
    known_at = {row.due_at: row for row in known}
    decision = sort_late([*known_at, *own], now=now, misfire=misfire)
    missed = [
        (_row(agent.id, trigger, due), reason) for due, reason in decision.missed if due not in known_at
    ]
    if own and (older := _older(agent, trigger, first, own[0], zone)) is not None:
        missed.insert(0, older)
    return Gap(
        run=tuple(_row(agent.id, trigger, due) for due in decision.run),
        missed=tuple(missed),
        known_missed={known_at[due].id: reason for due, reason in decision.missed if due in known_at},
    )


def _newest_after(trigger: TimedTrigger, first: datetime, now: datetime, limit: int) -> list[datetime]:
    try:
        return [due.at for due in newest_dues(trigger, start=first, end=now, anchor=first, limit=limit)]
    except ValueError:
        return []


def _older(
    agent: Agent, trigger: TimedTrigger, first: datetime, oldest_own: datetime, zone: tzinfo
) -> tuple[NewOccurrence, str] | None:
    """One row for all due times between the first known one and the oldest that gets a row of its own."""
    end = oldest_own - _MICROSECOND
    n_due = count_between(trigger, start=first, end=end, anchor=first)
    if n_due == 0:
        return None
    start_at = dues_between(trigger, start=first, end=end, anchor=first, limit=1)[0].at
    end_at = newest_dues(trigger, start=first, end=end, anchor=first, limit=1)[0].at
    told_in = find_zone(trigger.zone) if isinstance(trigger, CronTrigger | OnceTrigger) else zone
    row = _row(agent.id, trigger, end_at, n_due=n_due)
    if n_due == 1:
        span = f"A due time on {moment_in_words(end_at, told_in)}"
        return row, f"{span} passed while Hearth could not run it."
    span = f"from {moment_in_words(start_at, told_in)} to {moment_in_words(end_at, told_in)}"
    return row, f"{n_due:,} due times {span} passed while Hearth could not run them."


def _row(agent_id: int, trigger: TimedTrigger, due_at: datetime, *, n_due: int = 1) -> NewOccurrence:
    key = trigger_key(trigger)
    return NewOccurrence(
        agent_id=agent_id,
        trigger=trigger.on,
        key=due_key(key, due_at),
        due_at=due_at,
        trigger_key=key,
        n_due=n_due,
    )
