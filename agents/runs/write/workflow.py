"""The steps of a writing run: gather what its trigger brought, then write. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

from agents.core import AgentDefinition, NewResult, Step, StepKind
from agents.documents import read_document
from agents.errors import DocumentProblem
from agents.printable import printable_name
from agents.runs.context import RunContext, StepOutcome
from agents.runs.replaying import trigger_of
from agents.runs.superseded import Superseded
from agents.runs.write.questions import (
    Material,
    Moment,
    answer_schema,
    as_text,
    fixed_part,
    messages_of,
    result_of,
    shortened,
)
from agents.triggers import TriggerKind
from engine.core import Message, SamplingParams

# Below this size a model writes better without a form to fill in.
FILLS_FORMS_FROM_BYTES = 900_000_000
ANSWER_TOKENS = 1_500
SMALL_ANSWER_TOKENS = 400
SMALL_ROOM_TOKENS = 1_500  # of a prompt: what is longer a small model reads slowly and understands no better
TEMPLATE_TOKENS = 100  # the chat template's own marks
ROUNDS = 8  # of cutting a long text; each leaves a tenth of slack

_KINDS = {
    TriggerKind.WEBHOOK: "what a program sent",
    TriggerKind.RESULT: "the result of another agent",
}


async def write_text(context: RunContext, definition: AgentDefinition) -> NewResult:
    """Follows the agent's instructions. Raises DocumentProblem, EngineError, BudgetSpent or Superseded."""
    gathered = await context.step(
        key="gather",
        kind=StepKind.READ,
        title="Gather what was brought",
        work=lambda _: _gather(context, definition),
    )
    material = None if gathered is None else Material(kind=gathered["kind"], text=gathered["text"])
    await context.load_model()
    answer = await context.step(
        key="write",
        kind=StepKind.MODEL,
        title="Write the text",
        work=lambda step: _write(context, definition, step, material),
    )
    return result_of(answer["title"], answer["text"], agent_name=definition.name)


async def _gather(context: RunContext, definition: AgentDefinition) -> StepOutcome:
    run = context.run
    if run.path is not None:
        text = await _read(context, definition, run.path)
        kind = f"the file {printable_name(run.path)}"
    else:
        text = as_text(context.brought)
        kind = _KINDS.get(trigger_of(run), "what was brought")
    if not text.strip():
        return StepOutcome(output=None, detail="nothing")
    n_words = len(text.split())
    return StepOutcome(
        output={"kind": kind, "text": text},
        detail=f"{kind}, {n_words:,} {'word' if n_words == 1 else 'words'}",
    )


async def _read(context: RunContext, definition: AgentDefinition, path: Path) -> str:
    roots = [folder for folder in definition.read_folders if path.is_relative_to(folder)]
    if not roots or not any(path.is_relative_to(folder) for folder in context.granted):
        raise Superseded("The agent may no longer read the folder that this file lies in.")
    cancelled = threading.Event()
    try:
        document = await asyncio.to_thread(read_document, path, root=roots[0], cancelled=cancelled)
    except asyncio.CancelledError:
        cancelled.set()  # a thread can't be cancelled: it is told to end
        raise
    if context.run.content_hash not in (None, document.content_hash):
        raise Superseded("The file changed before it was read; its newer version has a run of its own.")
    return document.text


async def _write(
    context: RunContext, definition: AgentDefinition, step: Step, material: Material | None
) -> StepOutcome:
    fills_forms = await asyncio.to_thread(_model_bytes, context) >= FILLS_FORMS_FROM_BYTES
    n_ctx = context.engine.status.n_ctx or 2_048
    max_tokens = ANSWER_TOKENS if fills_forms else SMALL_ANSWER_TOKENS
    room = n_ctx - min(max_tokens, n_ctx // 2) - TEMPLATE_TOKENS
    if not fills_forms:
        room = min(room, SMALL_ROOM_TOKENS)
    messages, was_shortened = await _fitting(context, definition, material, room, with_rules=fills_forms)
    if fills_forms:
        answer, usage = await context.ask(
            step=step, messages=messages, schema=answer_schema(), max_tokens=max_tokens, fixed=fixed_part()
        )
        title, text, was_cut = answer["title"], answer["text"], False
    else:
        # A small model that always takes the likeliest word walks in circles.
        sampling = SamplingParams(max_tokens=max_tokens, temperature=0.2, repeat_penalty=1.1)
        plain = await context.ask_text(step=step, messages=messages, sampling=sampling, fixed=fixed_part())
        title, text, was_cut, usage = "", plain.text, plain.was_cut, plain.usage
    notes = ["What was brought was too long and is used in part."] if was_shortened else []
    notes += ["The text ends where its room ended."] if was_cut else []
    if not text.strip():
        raise DocumentProblem("The model wrote nothing; make the agent's instructions more exact.")
    return StepOutcome(output={"title": title, "text": text}, detail=" ".join(notes) or None, usage=usage)


async def _fitting(
    context: RunContext,
    definition: AgentDefinition,
    material: Material | None,
    room: int,
    *,
    with_rules: bool,
) -> tuple[tuple[Message, ...], bool]:
    """The messages with as much of the material as `room` tokens hold, and whether some was left out."""
    moment = _moment(context)
    shown, keep_chars = material, len(material.text) if material is not None else 0
    for _ in range(ROUNDS):
        messages = messages_of(definition.instructions, shown, moment, with_rules=with_rules)
        sizes = await context.engine.count_tokens([message.content for message in messages])
        if material is None or sum(sizes) <= room:
            return messages, shown is not material
        # The instructions stay whole; the material gives way in proportion, and a little more than that.
        keep_chars = int(keep_chars * max(0, room - sizes[0]) / max(1, sizes[1]) * 0.9)
        shown = replace(material, text=shortened(material.text, keep_chars))
    messages = messages_of(definition.instructions, None, moment, with_rules=with_rules)
    return messages, True


def _moment(context: RunContext) -> Moment:
    """By the clock on the user's wall."""
    return Moment(due=context.run.due_at.astimezone(), now=context.now.astimezone())


def _model_bytes(context: RunContext) -> int:
    path = context.engine.status.model_path
    return Path(path).stat().st_size if path and Path(path).exists() else 0
