"""Tells files that an agent wrote itself from those that wake it.

Runs in: a worker thread where it looks at the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from agents.core import FileState


class OwnFiles:
    """Versions that one agent wrote, by path and sha256."""

    def __init__(self, written: Iterable[tuple[Path, str]]) -> None:
        self._paths: dict[str, list[Path]] = {}
        for path, content_hash in written:
            self._paths.setdefault(content_hash, []).append(path)

    def may_hold(self, state: FileState) -> bool:
        """Whether it is worth a look at the disk."""
        return state.content_hash in self._paths

    def holds(self, state: FileState) -> bool:
        """Whether the agent wrote it there, by whichever way the folder is named; or there, and it was renamed since. Blocks.

        A copy beside the original is somebody's own doing, and counts as a new file.
        """
        paths = self._paths.get(state.content_hash, ())
        real = os.path.realpath(state.path)
        return any(os.path.realpath(path) == real or is_gone(path) for path in paths)


def is_gone(path: Path) -> bool:
    """Whether it is certain that nothing bears that name. Blocks."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
