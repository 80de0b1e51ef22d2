"""Agents that start on another's result, told or written as a file: no circles, no avalanches, and whom the end of a run wakes. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import assert_never

from agents.core import Agent, AgentDefinition, NewOccurrence, NewResult, Run, RunStatus
from agents.errors import UsageProblem
from agents.triggers import ResultKind, ResultTrigger, trigger_key
from agents.watching.rules import is_fed_by

MAX_FOLLOWERS = 20  # agents that start on the results of one
MAX_DEPTH = 10  # agents in a row, each started by the one before


def check_chains(agents: Sequence[AgentDefinition]) -> None:
    """Raises UsageProblem for a circle, for a chain that is too long, and for an agent that would start too many."""
    names = {_same(agent.name): agent.name for agent in agents}
    writers = [agent for agent in agents if agent.write_folder is not None]
    followed = {_same(agent.name): _followed_by(agent, writers) for agent in agents}
    _check_fan_out(names, followed)
    depths: dict[str, int] = {}
    for name in followed:
        _measure(name, followed, names, depths)


def notes_on(agent: AgentDefinition, names: Sequence[str]) -> list[str]:
    """What the user of an agent is told about what starts it, a sentence each; `names` are those of all agents."""
    if not agent.triggers:
        return ["It runs only by hand."]
    known = {_same(name) for name in names}
    awaited = dict.fromkeys(
        trigger.agent for trigger in _result_triggers(agent) if _same(trigger.agent) not in known
    )
    return [
        f"There is no agent named “{name}”; until there is one, its results can't start this one."
        for name in awaited
    ]


def followers_of(
    agents: Sequence[Agent],
    run: Run,
    result: NewResult | None,
    *,
    status: RunStatus,
    reason: str | None = None,
    now: datetime,
) -> list[NewOccurrence]:
    """Due times for the agents that the end of `run` wakes; `status` and `reason` are what it ends with.

    A cancelled run wakes nobody, since somebody wanted it to stop, and neither does a replay: its result is for comparing.
    """
    if run.replay_of is not None:
        return []
    told = {
        "agent": run.agent_name,
        "run": run.id,
        "status": status.value,
        "title": None if result is None else result.title,
        "text": _text(result, reason),
    }
    rows: dict[tuple[int, str], NewOccurrence] = {}
    for agent in agents:
        if agent.paused or agent.id == run.agent_id:
            continue
        for trigger in _result_triggers(agent.definition):
            if _same(trigger.agent) == _same(run.agent_name) and _is_awaited(trigger.when, status):
                key = trigger_key(trigger)
                rows[agent.id, key] = NewOccurrence(
                    agent_id=agent.id,
                    trigger=trigger.on,
                    key=f"{key}:after:{run.id}",
                    due_at=now,
                    trigger_key=key,
                    input=told,
                )
    return list(rows.values())


def _is_awaited(when: ResultKind, status: RunStatus) -> bool:
    match when:
        case ResultKind.SUCCEEDED:
            return status is RunStatus.SUCCEEDED
        case ResultKind.FAILED:
            return status is RunStatus.FAILED
        case ResultKind.ANY:
            return status in (RunStatus.SUCCEEDED, RunStatus.UNVERIFIED, RunStatus.FAILED)
        case _:
            assert_never(when)


def _text(result: NewResult | None, reason: str | None) -> str | None:
    if result is None:
        return reason
    return "\n".join([result.summary, *(f"- {item}" for item in result.action_items)])


def _result_triggers(agent: AgentDefinition) -> list[ResultTrigger]:
    return [trigger for trigger in agent.triggers if isinstance(trigger, ResultTrigger)]


def _followed_by(agent: AgentDefinition, writers: Sequence[AgentDefinition]) -> list[str]:
    """Whose results wake it, told to it or written as files into a folder that it watches; its own files do not."""
    told = [trigger.agent for trigger in _result_triggers(agent)]
    written = [each.name for each in writers if each is not agent and is_fed_by(agent, each)]
    return list(dict.fromkeys(_same(name) for name in (*told, *written)))


def _check_fan_out(names: Mapping[str, str], followed: Mapping[str, Sequence[str]]) -> None:
    followers: dict[str, int] = {}
    for others in followed.values():
        for name in others:
            followers[name] = followers.get(name, 0) + 1
            if followers[name] > MAX_FOLLOWERS:
                raise UsageProblem(
                    f"More than {MAX_FOLLOWERS} agents would start on the results of “{names.get(name, name)}”; "
                    "let one of them start others in turn."
                )


def _measure(
    start: str, followed: Mapping[str, Sequence[str]], names: Mapping[str, str], depths: dict[str, int]
) -> None:
    """Notes for `start`, and all that it follows, how many agents stand in the longest row that ends with it."""
    path, unseen = [start], [list(followed.get(start, ()))]
    while path:
        if unseen[-1]:
            before = unseen[-1].pop()
            if before in path:
                raise UsageProblem(_circle([*path[path.index(before) :], before], names))
            if before in followed and before not in depths:
                path.append(before)
                unseen.append(list(followed[before]))
            continue
        name = path.pop()
        unseen.pop()
        depths[name] = 1 + max((depths.get(before, 1) for before in followed[name]), default=0)
        if depths[name] > MAX_DEPTH:
            raise UsageProblem(
                f"“{names[name]}” would be number {depths[name]} in a row of agents that start one another; "
                f"at most {MAX_DEPTH} are allowed."
            )


def _circle(followers: Sequence[str], names: Mapping[str, str]) -> str:
    """From the follower's side to the order in which they would start one another."""
    told = [f"“{names[name]}”" for name in reversed(followers)]
    if len(told) == 2:
        return f"{told[0]} would start on its own results, without end; take that trigger out."
    return f"Agents would start one another in a circle: {' → '.join(told)}; take one of these triggers out."


def _same(name: str) -> str:
    """The form in which two spellings of one agent's name are equal."""
    return unicodedata.normalize("NFC", name).casefold()
