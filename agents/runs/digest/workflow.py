"""The steps of a digest run: read, split, note each part, write the whole. Runs in: the runtime's event loop.

Each step's output is on disk before the next begins, so a run that was interrupted goes on where it was, with the very text that it read.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.core import AgentDefinition, NewResult, Step, StepKind, StepUsage
from agents.documents import DocumentText, read_document, split_text
from agents.errors import DocumentProblem
from agents.runs.context import RunContext, StepOutcome
from agents.runs.digest.writers import (
    Notes,
    Question,
    QuotingWriter,
    Writer,
    grounded,
    opening_notes,
    writer_for,
)
from agents.runs.prefixes import FixedPrompt
from agents.runs.superseded import Superseded

# A part is small enough that a small model still sees all of it, and that progress shows every few seconds.
MAX_PART_TOKENS = 1_200
PROMPT_TOKENS = 500  # instructions, example and the template's own marks


async def digest_document(context: RunContext, definition: AgentDefinition) -> NewResult:
    """Digests the file of one run. Raises DocumentProblem, EngineError or Superseded."""
    document = await context.step(
        key="read", kind=StepKind.READ, title="Read the file", work=lambda _: _read(context, definition)
    )
    text: str = document["text"]
    await context.load_model()
    parts: list[str] = await context.step(
        key="split",
        kind=StepKind.SPLIT,
        title="Split it into parts",
        work=lambda _: _split(context, text),
    )
    writer = writer_for(_model_size_bytes(context), definition.instructions)
    notes: list[Notes] = []
    if len(parts) > 1:
        for index, part in enumerate(parts, start=1):
            title = f"Note part {index} of {len(parts)}"
            notes.append(await _note(context, writer, f"part-{index}", title, part))
        notes = await _condense(context, writer, notes)
    answer = await context.step(
        key="digest",
        kind=StepKind.MODEL,
        title="Combine the notes" if notes else "Write the digest",
        work=lambda step: _digest(context, writer, step, text, parts, notes),
    )
    return NewResult(
        title=answer["title"],
        summary=answer["summary"],
        action_items=tuple(answer["action_items"]),
        category=answer["category"],
    )


async def _read(context: RunContext, definition: AgentDefinition) -> StepOutcome:
    path = context.run.path
    if path is None:
        raise DocumentProblem("This run has no file; run the agent with a file.")
    root = _root_of(path, definition, context.granted)
    cancelled = threading.Event()
    try:
        document = await asyncio.to_thread(read_document, path, root=root, cancelled=cancelled)
    except asyncio.CancelledError:
        cancelled.set()  # a thread can't be cancelled: it is told to end
        raise
    wanted = context.run.content_hash
    if wanted is not None and document.content_hash != wanted:
        raise Superseded("The file changed before it was read; its newer version has a run of its own.")
    output = {"text": document.text, "kind": document.kind, "pages": document.pages, "words": document.words}
    return StepOutcome(output=output, detail=_size_of(document))


def _root_of(path: Path, definition: AgentDefinition, granted: tuple[Path, ...]) -> Path:
    """The folder that the run's own revision was given, if the agent still has a grant for the file today."""
    roots = [folder for folder in definition.read_folders if path.is_relative_to(folder)]
    if not roots or not any(path.is_relative_to(folder) for folder in granted):
        raise Superseded("The agent may no longer read the folder that this file lies in.")
    return roots[0]


def _size_of(document: DocumentText) -> str:
    words = f"{document.words:,} {'word' if document.words == 1 else 'words'}"
    if document.pages is None:
        return words
    return f"{document.pages} {'page' if document.pages == 1 else 'pages'}, {words}"


async def _split(context: RunContext, text: str) -> StepOutcome:
    parts = await split_text(
        text, budget_tokens=_part_budget(context), count_tokens=context.engine.count_tokens
    )
    detail = "1 part" if len(parts) == 1 else f"{len(parts)} parts"
    return StepOutcome(output=parts, detail=detail)


def _part_budget(context: RunContext) -> int:
    n_ctx = context.engine.status.n_ctx or MAX_PART_TOKENS
    return max(64, min(MAX_PART_TOKENS, n_ctx // 2 - PROMPT_TOKENS))


async def _note(context: RunContext, writer: Writer, key: str, title: str, text: str) -> Notes:
    async def work(step: Step) -> StepOutcome:
        # Text of any size and shape is looked through here: off the loop, so that nothing waits for it.
        question = await asyncio.to_thread(writer.ask_part, text)
        answer, usage = await _ask(context, step, question)
        note = writer.read_part(answer)
        output = {"summary": list(note.summary), "action_items": list(note.action_items)}
        return StepOutcome(output=output, usage=usage)

    stored = await context.step(key=key, kind=StepKind.MODEL, title=title, work=work)
    return Notes(summary=tuple(stored["summary"]), action_items=tuple(stored["action_items"]))


async def _condense(context: RunContext, writer: Writer, notes: list[Notes]) -> list[Notes]:
    """Notes of notes, level by level, until all of them fit the model's context together."""
    budget = _part_budget(context)
    level = 0
    while sum(sizes := await context.engine.count_tokens([note.text for note in notes])) > budget:
        level += 1
        groups = _grouped(notes, sizes, budget)
        notes = [
            await _note(
                context,
                writer,
                f"level-{level}-{index}",
                f"Condense the notes, {index} of {len(groups)}",
                "\n".join(note.text for note in group),
            )
            for index, group in enumerate(groups, start=1)
        ]
        if len(notes) == 1:
            break
    return notes


def _grouped(notes: list[Notes], sizes: list[int], budget: int) -> list[list[Notes]]:
    """Neighbours together while they fit `budget`; never one alone but the last, so that each level is shorter."""
    groups: list[list[Notes]] = []
    room = 0
    for note, size in zip(notes, sizes, strict=True):
        if groups and (size <= room or len(groups[-1]) < 2):
            groups[-1].append(note)
            room -= size
        else:
            groups.append([note])
            room = budget - size
    return groups


async def _digest(
    context: RunContext, writer: Writer, step: Step, text: str, parts: list[str], notes: list[Notes]
) -> StepOutcome:
    answer, usage = await _ask(context, step, await asyncio.to_thread(writer.ask_whole, text, notes))
    result = writer.read_whole(answer)
    detail = None
    if not await asyncio.to_thread(grounded, result, text):
        quoting = QuotingWriter(whole=FixedPrompt.QUOTED_WHOLE)
        openings = await asyncio.to_thread(opening_notes, parts)
        question = await asyncio.to_thread(quoting.ask_whole, text, openings)
        answer, more = await _ask(context, step, question)
        result, usage = quoting.read_whole(answer), _sum(usage, more)
        detail = "The first answer said things that are not in the document, so this one quotes it."
    output = {
        "title": result.title,
        "summary": result.summary,
        "action_items": list(result.action_items),
        "category": result.category,
    }
    return StepOutcome(output=output, detail=detail, usage=usage)


async def _ask(context: RunContext, step: Step, question: Question) -> tuple[Mapping[str, Any], StepUsage]:
    return await context.ask(
        step=step,
        messages=question.messages,
        schema=question.schema,
        max_tokens=question.max_tokens,
        fixed=question.fixed,
    )


def _model_size_bytes(context: RunContext) -> int:
    path = context.engine.status.model_path
    return Path(path).stat().st_size if path and Path(path).exists() else 0


def _sum(one: StepUsage, other: StepUsage) -> StepUsage:
    known = one.energy_j is not None and other.energy_j is not None
    return StepUsage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        prefill_s=one.prefill_s + other.prefill_s,
        decode_s=one.decode_s + other.decode_s,
        energy_j=(one.energy_j or 0.0) + (other.energy_j or 0.0) if known else None,
        cost_usd=one.cost_usd + other.cost_usd,
    )
