"""Whether files under granted folders have changed since the gate last let a run through.

Runs in: a worker thread. Names, sizes and times are compared first; only when they differ, contents are.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agents.gates.finding import Finding
from agents.gates.survey import (
    LIMIT_FILES,
    ContentReader,
    Sight,
    Spot,
    TooMany,
    changed_files,
    quick_digest,
    sights_under,
)
from agents.printable import printable
from agents.triggers import ChangedGate

MAX_MARKS = 150  # above it, how many files have changed is not told: the state would become too long


@dataclass(frozen=True, kw_only=True)
class _State:
    """What the files were like. `quick` is None when their times were too fresh to rely on."""

    digest: str
    quick: str | None
    n_files: int
    marks: tuple[str, ...]


def check_changed(
    gate: ChangedGate,
    state: str | None,
    *,
    read_folders: Sequence[Path],
    reader: ContentReader,
    cancelled: threading.Event,
    limit_files: int = LIMIT_FILES,
) -> Finding:
    """Blocks. Open at the first check. Raises survey.Cancelled once `cancelled` is set."""
    now_ns = time.time_ns()
    try:
        spots = [_spot(path, read_folders) for path in gate.paths]
        sights = sights_under(spots, cancelled=cancelled, limit_files=limit_files)
    except _NotGranted as error:
        return Finding(is_open=False, detail=str(error))
    except TooMany:
        return Finding(is_open=False, detail=f"more than {limit_files:,} files to look at; name fewer")
    except OSError as error:
        where = printable(Path(os.fsdecode(error.filename))) if error.filename else "the disk"
        return Finding(is_open=False, detail=f"{where} can't be looked at ({error.strerror})")
    before = _parse(state)
    quick = quick_digest(sights, now_ns=now_ns)
    if before is not None and quick is not None and quick == before.quick:
        return Finding(is_open=False, detail=_unchanged(sights), state=state)
    contents = reader.contents_of(sights, now_ns=now_ns, cancelled=cancelled)
    marks = contents.marks if len(sights) <= MAX_MARKS else ()
    after = _State(digest=contents.digest, quick=quick, n_files=len(sights), marks=marks)
    text = json.dumps(asdict(after), separators=(",", ":"))
    if before is not None and before.digest == after.digest:
        return Finding(is_open=False, detail=_unchanged(sights), state=text)
    return Finding(is_open=True, detail=_changed(before, after), state=text)


class _NotGranted(Exception):
    """str() is one line for the user."""


def _spot(path: Path, read_folders: Sequence[Path]) -> Spot:
    """The path without links, inside a granted folder; checked at each look, since a link may lead elsewhere by now."""
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(folder)) for folder in read_folders]
    granted = [root for root in roots if real.is_relative_to(root)]
    if not granted:
        raise _NotGranted(f"{printable(path)} lies in no folder that the agent may read")
    root = max(granted, key=lambda folder: len(folder.parts))
    return Spot(path=real, root=root)


def _parse(state: str | None) -> _State | None:
    """None also for what an older version wrote otherwise: then the gate opens once more than it had to."""
    try:
        values = json.loads(state or "")
        return _State(
            digest=str(values["digest"]),
            quick=values["quick"],
            n_files=int(values["n_files"]),
            marks=tuple(values["marks"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _unchanged(sights: Sequence[Sight]) -> str:
    return f"nothing has changed in {_files(len(sights))}"


def _changed(before: _State | None, after: _State) -> str:
    if before is None:
        return f"first look at {_files(after.n_files)}"
    if before.n_files <= MAX_MARKS and after.n_files <= MAX_MARKS:
        count = changed_files(before.marks, after.marks)
        return f"{count:,} of {_files(max(before.n_files, after.n_files))} changed"
    return f"something has changed in {_files(after.n_files)}"


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"
