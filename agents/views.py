"""Turns the runtime's values into the contract's, the only place where the two meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents import contract
from agents.core import Agent, ChatTurn, Conversation, Result, Revision, Run, RunStatus, Step
from agents.definitions import asks_of, watched_folders
from agents.printable import printable
from engine.status import EngineStatus


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
    )


def run_detail(run: Run, *, revision: int, steps: list[Step], result: Result | None) -> contract.RunDetail:
    return contract.RunDetail(
        **dict(run_info(run)),
        revision=revision,
        content_hash=run.content_hash,
        steps=[step_info(step) for step in steps],
        result=result_info(result) if result else None,
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
    )


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
    agent: Agent, *, counts: Mapping[RunStatus, int], last_run: Run | None, problem: str | None
) -> contract.AgentInfo:
    definition = agent.definition
    patterns = dict.fromkeys(pattern for trigger in definition.file_triggers for pattern in trigger.patterns)
    return contract.AgentInfo(
        name=agent.name,
        description=definition.description,
        kind=definition.kind.value,
        paused=agent.paused,
        revision=agent.revision,
        folders=[printable(folder) for folder in watched_folders(definition)],
        patterns=list(patterns),
        problem=problem,
        waiting=counts.get(RunStatus.PENDING, 0) + counts.get(RunStatus.RUNNING, 0),
        running=counts.get(RunStatus.RUNNING, 0),
        succeeded=counts.get(RunStatus.SUCCEEDED, 0),
        failed=counts.get(RunStatus.FAILED, 0),
        last_run=run_info(last_run) if last_run else None,
    )


def agent_detail(
    agent: Agent, info: contract.AgentInfo, revisions: Sequence[Revision]
) -> contract.AgentDetail:
    return contract.AgentDetail(
        **dict(info),
        source=agent.source,
        asks=list(asks_of(agent.definition)),
        model=agent.definition.model,
        notify=agent.definition.notify.value,
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
