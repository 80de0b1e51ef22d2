"""Turns the runtime's values into the contract's, the only place where the two meet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from agents import contract
from agents.core import (
    Agent,
    ChatTurn,
    Conversation,
    GateOutcome,
    Incident,
    Occurrence,
    Result,
    Revision,
    Run,
    RunStatus,
    Step,
    Wakings,
)
from agents.definitions import asks_of, gate_in_words, policies_in_words, watched_folders
from agents.printable import printable
from agents.runs.stop_switch import StopSwitch
from agents.scheduling.due_times import due_in_words, in_words
from agents.scheduling.simulate import Firing
from agents.scheduling.wall_clock import find_zone
from agents.scheduling.words import moment_in_words
from agents.triggers import Trigger, TriggerKind
from engine.status import EngineStatus

_BROUGHT_CHARS = 200

_FULL = "That can't be written down at the moment, so"
_NOT_YET_STOPPED = f"{_FULL} it holds only until Hearth ends, unless room is made on the disk before."
_NOT_YET_RESUMED = (
    f"{_FULL} they are stopped again when Hearth starts anew, unless room is made on the disk before."
)


def engine_info(status: EngineStatus) -> contract.EngineInfo:
    return contract.EngineInfo(
        state=status.state.value,
        model=status.model_name,
        n_ctx=status.n_ctx,
        pid=status.pid,
        notice=status.notice,
        reason=status.reason,
        deaths=status.deaths,
        tokens_per_s=_rounded(status.tokens_per_s),
        load_progress=_rounded(status.load_progress, 2),
        plan=status.plan,
        memory_bytes=status.memory_bytes,
    )


def run_info(run: Run) -> contract.RunInfo:
    return contract.RunInfo(
        id=run.id,
        agent=run.agent_name,
        trigger=run.trigger.value,
        status=run.status.value,
        reason=run.reason,
        file=printable(run.path) if run.path else None,
        due_at=run.due_at,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        attempt=run.attempt,
        model=run.model,
        tokens=run.prompt_tokens + run.completion_tokens,
        tokens_per_s=_rounded(run.tokens_per_s),
        title=run.title,
        failures=run.failures,
        not_before=run.not_before if run.status is RunStatus.PENDING else None,
        retry_of=run.retry_of,
        replay_of=run.replay_of,
        brought=_first_line(run.input) if run.trigger is TriggerKind.WEBHOOK else None,
        energy_j=_rounded(run.energy_j),
        cost_usd=run.cost_usd,
    )


def run_detail(
    run: Run,
    *,
    revision: int,
    steps: list[Step],
    result: Result | None,
    occurrence: contract.OccurrenceDetail | None = None,
    trigger: Trigger | None = None,
) -> contract.RunDetail:
    """`trigger` is the one that made it due, if its revision tells."""
    return contract.RunDetail(
        **dict(run_info(run)),
        revision=revision,
        trigger_words=in_words(trigger) if trigger else None,
        content_hash=run.content_hash,
        steps=[step_info(step) for step in steps],
        result=result_info(result) if result else None,
        occurrence=occurrence,
    )


def step_info(step: Step) -> contract.StepInfo:
    return contract.StepInfo(
        seq=step.seq,
        kind=step.kind.value,
        title=step.title,
        status=step.status.value,
        detail=step.detail,
        error=step.error,
        started_at=step.started_at,
        finished_at=step.finished_at,
        prompt_tokens=step.usage.prompt_tokens,
        completion_tokens=step.usage.completion_tokens,
        tokens_per_s=_rounded(step.usage.tokens_per_s),
        energy_j=_rounded(step.usage.energy_j),
        cost_usd=step.usage.cost_usd,
        route=step.route,
    )


def occurrence_info(occurrence: Occurrence) -> contract.OccurrenceInfo:
    return contract.OccurrenceInfo(
        id=occurrence.id,
        agent=occurrence.agent_name,
        trigger=occurrence.trigger.value,
        due_at=occurrence.due_at,
        status=occurrence.status.value,
        reason=occurrence.reason,
        created_at=occurrence.created_at,
        claimed_at=occurrence.claimed_at,
        file=printable(occurrence.path) if occurrence.path else None,
        n_due=occurrence.n_due,
        run_id=occurrence.run_id,
    )


def occurrence_detail(occurrence: Occurrence, gates: Sequence[GateOutcome]) -> contract.OccurrenceDetail:
    return contract.OccurrenceDetail(
        **dict(occurrence_info(occurrence)),
        gates=[
            contract.GateInfo(gate=gate.gate.value, open=gate.is_open, detail=gate.detail) for gate in gates
        ],
    )


def due_time(firing: Firing, *, armed: bool, zone: str, now: datetime) -> contract.DueTime:
    """A due time as the simulator found it, told by the user's clock."""
    return contract.DueTime(
        at=firing.due.at,
        words=due_in_words(firing.due.at, ZoneInfo(zone), now),
        zone=zone,
        there=_there(firing, zone),
        trigger=in_words(firing.trigger, local_zone=zone),
        note=firing.due.note,
        armed=armed,
    )


def _first_line(brought: Any) -> str | None:
    if brought is None:
        return None
    text = brought if isinstance(brought, str) else json.dumps(brought, ensure_ascii=False)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = line.encode(errors="replace").decode()  # what was stored may hold what no answer can carry
    return line if len(line) <= _BROUGHT_CHARS else f"{line[: _BROUGHT_CHARS - 1]}…"


def _there(firing: Firing, zone: str) -> str | None:
    own = getattr(firing.trigger, "zone", zone)
    return None if own == zone else moment_in_words(firing.due.at, find_zone(own))


def agents_switched(switch: StopSwitch) -> contract.AgentsSwitched:
    stopped = switch.stopped
    if stopped is None:
        return contract.AgentsSwitched(stopped=False, note=None if switch.is_written else _NOT_YET_RESUMED)
    return contract.AgentsSwitched(
        stopped=True,
        reason=stopped.reason,
        at=stopped.at,
        note=None if switch.is_written else _NOT_YET_STOPPED,
    )


def incident_info(incident: Incident) -> contract.IncidentInfo:
    return contract.IncidentInfo(at=incident.at, kind=incident.kind, detail=incident.detail)


def result_info(result: Result) -> contract.ResultInfo:
    return contract.ResultInfo(
        id=result.id,
        run_id=result.run_id,
        agent=result.agent_name,
        file=printable(result.path) if result.path else None,
        title=result.title,
        summary=result.summary,
        action_items=list(result.action_items),
        category=result.category,
        created_at=result.created_at,
    )


def agent_info(
    agent: Agent,
    *,
    counts: Mapping[RunStatus, int],
    last_run: Run | None,
    problem: str | None,
    stopped: bool = False,
    waits: str | None,
    next_due: datetime | None,
    wakings: Wakings,
    zone: str,
    now: datetime,
) -> contract.AgentInfo:
    """`zone` is the user's, in which times are told."""
    definition = agent.definition
    patterns = dict.fromkeys(pattern for trigger in definition.file_triggers for pattern in trigger.patterns)
    return contract.AgentInfo(
        name=agent.name,
        description=definition.description,
        kind=definition.kind.value,
        paused=agent.paused,
        paused_reason=agent.paused_reason,
        revision=agent.revision,
        triggers=[in_words(trigger, local_zone=zone) for trigger in definition.triggers],
        gates=[gate_in_words(gate, local_zone=zone) for gate in definition.gates],
        next_due=next_due,
        next_due_words=due_in_words(next_due, ZoneInfo(zone), now) if next_due else None,
        woken=wakings.woken,
        free=wakings.free,
        folders=[printable(folder) for folder in watched_folders(definition)],
        patterns=list(patterns),
        problem=problem,
        stopped=stopped,
        waits=waits,
        waiting=counts.get(RunStatus.PENDING, 0) + counts.get(RunStatus.RUNNING, 0),
        running=counts.get(RunStatus.RUNNING, 0),
        succeeded=counts.get(RunStatus.SUCCEEDED, 0),
        failed=counts.get(RunStatus.FAILED, 0),
        last_run=run_info(last_run) if last_run else None,
    )


def agent_detail(
    agent: Agent, info: contract.AgentInfo, revisions: Sequence[Revision], *, notes: Sequence[str] = ()
) -> contract.AgentDetail:
    return contract.AgentDetail(
        **dict(info),
        source=agent.source,
        asks=list(asks_of(agent.definition)),
        model=agent.definition.model,
        notify=agent.definition.notify.value,
        policies=list(policies_in_words(agent.definition)),
        write_folder=printable(agent.definition.write_folder) if agent.definition.write_folder else None,
        notes=list(notes),
        revisions=[
            contract.RevisionInfo(number=revision.number, created_at=revision.created_at)
            for revision in revisions
        ],
    )


def conversation_info(conversation: Conversation) -> contract.ConversationInfo:
    return contract.ConversationInfo(
        id=conversation.id,
        title=conversation.title,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
    )


def conversation_detail(conversation: Conversation, turns: list[ChatTurn]) -> contract.ConversationDetail:
    return contract.ConversationDetail(
        id=conversation.id,
        title=conversation.title,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        messages=[
            contract.ChatMessage(
                id=turn.id,
                role="user" if turn.role == "user" else "assistant",
                text=turn.text,
                status=turn.status.value,
                created_at=turn.created_at,
                tokens_per_s=_rounded(turn.usage.tokens_per_s),
            )
            for turn in turns
        ],
    )


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
