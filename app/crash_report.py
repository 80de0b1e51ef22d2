"""Crash reports of the clients: what a bug looked like, without the words of the user's files, names or questions."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from agents.paths import HomePaths

REPORTS_KEPT = 20
_NAMES = "crash-*.txt"


def describe(error: BaseException) -> str:
    """Types and places only: messages and values may hold private text. The same bug gives the same words."""
    lines = [f"Python {platform.python_version()}  {sys.platform}"]
    current: BaseException | None = error
    while current is not None:
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}")
        frames = traceback.extract_tb(current.__traceback__)
        lines += [f"  {_shortened(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        current = current.__cause__ or current.__context__
    return "\n".join(lines) + "\n"


def write_report(description: str, home: Path | None) -> Path | None:
    """Writes a report into the home's logs, or into the temporary folder when that can't be done; None if neither.

    The home keeps the newest REPORTS_KEPT.
    """
    now = datetime.now(UTC)
    folders = [Path(tempfile.gettempdir())]
    if home is not None and home.is_dir():  # a crash of a client makes no home
        folders.insert(0, HomePaths(home).logs)
    for folder in folders:
        path = folder / f"crash-{now:%Y%m%dT%H%M%S%fZ}.txt"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(f"{now.isoformat(timespec='seconds')}  {description}", encoding="utf-8")
            if folder != Path(tempfile.gettempdir()):
                _prune(folder)
        except OSError:
            continue
        return path
    return None


def _shortened(filename: str) -> str:
    """The last three parts of a path: enough to find the line, and no name of a user."""
    return "/".join(Path(filename).parts[-3:])


def _prune(folder: Path) -> None:
    for old in sorted(folder.glob(_NAMES))[:-REPORTS_KEPT]:
        old.unlink(missing_ok=True)
