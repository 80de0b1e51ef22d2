"""Which workflow a run follows."""

from __future__ import annotations

from agents.core import AgentDefinition, AgentKind, NewResult, Run
from agents.runs.context import RunContext
from agents.runs.digest import digest_document
from agents.runs.replaying import trigger_of
from agents.runs.storm import tell_of_storm
from agents.runs.write import write_text
from agents.triggers import TriggerKind


async def do_work(context: RunContext, definition: AgentDefinition) -> NewResult:
    """What the agent's kind asks for; many files at once are told of, not read."""
    if _is_storm(context.run):
        return await tell_of_storm(context, definition)
    match definition.kind:
        case AgentKind.DIGEST:
            return await digest_document(context, definition)
        case AgentKind.WRITE:
            return await write_text(context, definition)


def _is_storm(run: Run) -> bool:
    """Every other run that a file made has that file's path."""
    return trigger_of(run) is TriggerKind.FILE_CHANGED and run.path is None
