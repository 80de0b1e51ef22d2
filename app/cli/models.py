"""`hearth models`: which models take memory, and giving it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from app.cli.common import Invocation, home_option, json_option, shared_options
from app.cli.output import duration, emit, paragraph, say, table

if TYPE_CHECKING:
    from agents.contract import ModelInfo


@click.group()
@home_option
@json_option
def models() -> None:
    """See which models are loaded, and unload one."""


@models.command("list")
@shared_options
def list_models(call: Invocation) -> None:
    """List the models at hand: what they take of the memory, and for how long nobody has used them."""
    with call.runtime() as client:
        found = client.models()
    if call.json:
        emit(found)
        return
    rows = [(model.id, _state(model), _memory(model), _use(model)) for model in found]
    say(table(("model", "state", "memory", "used"), rows))
    for model in found:
        if model.loaded and model.plan:
            say(paragraph(f"{model.id}: {model.plan}", indent="  "))


@models.command("unload")
@click.argument("model")
@shared_options
def unload_model(call: Invocation, model: str) -> None:
    """Give a model's memory back now. Its next use loads it again."""
    with call.runtime() as client:
        info = client.unload_model(model)
    if call.json:
        emit(info)
    else:
        say(f"{info.id} takes no memory now; its next use loads it again.")


def _state(model: ModelInfo) -> str:
    if model.load_progress is not None and model.load_progress < 1:
        return f"{model.load_progress:.0%} loaded"
    return model.state.replace("_", " ") if model.loaded or model.state == "set_aside" else "not loaded"


def _memory(model: ModelInfo) -> str:
    return "" if model.memory_bytes is None else f"{model.memory_bytes / 1e6:,.0f} MB"


def _use(model: ModelInfo) -> str:
    if model.in_use:
        return "now"
    words = "" if model.idle_s is None else f"{duration(model.idle_s)} ago"
    if model.due_s is not None:
        words += f"{', ' if words else ''}needed in {duration(model.due_s)}"
    return words
