"""How a run that is done again stands in the ledger: a fresh occurrence that carries what the first one was brought. Pure."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from agents.core import NewOccurrence, Run
from agents.triggers import TriggerKind

_BROUGHT = "brought"
_TRIGGER = "trigger"
_MODEL = "on_model"


def retry_of(run: Run, *, now: datetime) -> NewOccurrence:
    """The same work from its beginning; a file is read as it is now."""
    return _again("retry", run, now, {_BROUGHT: brought_by(run), _TRIGGER: trigger_of(run)})


def replay_of(run: Run, *, now: datetime, model: str | None) -> NewOccurrence:
    """The same work with what its steps have recorded, maybe by another model."""
    brought = {_BROUGHT: brought_by(run), _TRIGGER: trigger_of(run), _MODEL: model}
    return replace(_again("replay", run, now, brought), content_hash=run.content_hash)


def _again(word: str, run: Run, now: datetime, brought: dict[str, Any]) -> NewOccurrence:
    return NewOccurrence(
        agent_id=run.agent_id,
        trigger=TriggerKind.MANUAL,
        key=f"{word}:{run.id}:{uuid.uuid4().hex[:12]}",
        due_at=now,
        path=run.path,
        input=brought,
    )


def brought_by(run: Run) -> Any:
    """What the run's trigger brought, also when it was done again."""
    return run.input.get(_BROUGHT) if _repeats(run) else run.input


def trigger_of(run: Run) -> TriggerKind:
    """What the work began with, also when it was done again by hand."""
    return TriggerKind(run.input[_TRIGGER]) if _repeats(run) else run.trigger


def model_of(run: Run, default: str) -> str:
    """The model that a replay asks for; `default` for every other run."""
    return (run.input.get(_MODEL) or default) if _repeats(run) else default


def _repeats(run: Run) -> bool:
    return (run.retry_of is not None or run.replay_of is not None) and isinstance(run.input, dict)
