"""Crash reports: what a bug looked like, without the words of the user's files, names or questions."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from agents.paths import HomePaths


def describe(error: BaseException) -> str:
    """Types and places only: messages and values may hold private text."""
    now = datetime.now(UTC)
    lines = [f"{now.isoformat(timespec='seconds')}  Python {platform.python_version()}  {sys.platform}"]
    current: BaseException | None = error
    while current is not None:
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}")
        frames = traceback.extract_tb(current.__traceback__)
        lines += [f"  {_shortened(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        current = current.__cause__ or current.__context__
    return "\n".join(lines) + "\n"


def _shortened(filename: str) -> str:
    """The last three parts of a path: enough to find the line, and no name of a user."""
    return "/".join(Path(filename).parts[-3:])


def write_report(error: BaseException, home: Path | None) -> Path | None:
    """Writes the report into the home's logs, or into the temporary folder when that can't be done; None if neither."""
    name = f"crash-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%fZ')}.txt"
    folders = [Path(tempfile.gettempdir())]
    if home is not None and home.is_dir():  # a crash of a client makes no home
        folders.insert(0, HomePaths(home).logs)
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / name
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(describe(error), encoding="utf-8")
        except OSError:
            continue
        return path
    return None
