"""One run for a whole flood of files: it tells how many came, from where, of which types, and the newest names. Needs no model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from agents.core import AgentDefinition, NewResult, Step, StepKind
from agents.printable import printable, printable_name
from agents.runs.context import RunContext, StepOutcome

K = TypeVar("K", Path, str)

MAX_FOLDERS = 10
MAX_TYPES = 10
MAX_NAMES = 20


async def tell_of_storm(context: RunContext, _: AgentDefinition) -> NewResult:
    """A digest of the files themselves, not of what they say."""

    async def work(_: Step) -> StepOutcome:
        files = [(path, size_bytes) for path, _, size_bytes in await context.files()]
        result = digest_of(await asyncio.to_thread(_newest_first, files))
        return StepOutcome(
            output={"title": result.title, "summary": result.summary}, detail=_count(len(files), "file")
        )

    stored = await context.step(key="storm", kind=StepKind.READ, title="Look through the files", work=work)
    return NewResult(
        title=stored["title"], summary=stored["summary"], action_items=(), category="many files at once"
    )


def _newest_first(files: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """By the times that the files have now; what is gone comes last."""

    def age(file: tuple[Path, int]) -> tuple[int, str]:
        try:
            return -file[0].lstat().st_mtime_ns, str(file[0])
        except OSError:
            return 0, str(file[0])

    return sorted(files, key=age)


def digest_of(files: Sequence[tuple[Path, int]]) -> NewResult:
    """`files` are paths and sizes in bytes, the newest first. Pure, and the same for the same files."""
    folders = Counter(path.parent for path, _ in files)
    types = Counter(path.suffix.lower() or "no extension" for path, _ in files)
    size_bytes = sum(size for _, size in files)
    names = [printable_name(path) for path, _ in files[:MAX_NAMES]]
    rest = len(files) - len(names)
    lines = [
        f"{_count(len(files), 'file')} came at once ({_size(size_bytes)} together), so none was read on its own.",
        "By folder: " + _shares([(printable(folder), n) for folder, n in _most(folders)], MAX_FOLDERS) + ".",
        "By type: " + _shares([(kind, n) for kind, n in _most(types)], MAX_TYPES) + ".",
        "The newest: " + ", ".join(names) + (f", and {rest:,} more" if rest else "") + ".",
        "Run the agent with one of them to have it read.",
    ]
    return NewResult(
        title=f"{_count(len(files), 'new file')} at once",
        summary="\n".join(lines),
        action_items=(),
        category="many files at once",
    )


def _most(counted: Counter[K]) -> list[tuple[K, int]]:
    """The most frequent first, equal ones by name: the order does not depend on that of the files."""
    return sorted(counted.items(), key=lambda pair: (-pair[1], str(pair[0])))


def _shares(counted: list[tuple[str, int]], most: int) -> str:
    shown = ", ".join(f"{name} ({n:,})" for name, n in counted[:most])
    rest = len(counted) - most
    return shown if rest <= 0 else f"{shown} and {rest:,} more"


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def _size(size_bytes: int) -> str:
    for limit, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if size_bytes >= limit:
            return f"{size_bytes / limit:,.1f} {unit}"
    return f"{size_bytes:,} bytes"
