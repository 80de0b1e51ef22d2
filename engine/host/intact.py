"""Notices a model file whose bytes are not those that it was published with, and remembers which file was found whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from engine.errors import ModelInvalid
from engine.host.state_file import StateFile

_SECTION = "intact"


class IntactFiles:
    """Remembers the files that were read through, so that only the first start of each reads it."""

    def __init__(self, state: StateFile) -> None:
        self._state = state

    def knows(self, path: Path, sha256: str) -> bool:
        """Whether the very file that is there now was found to have this hash."""
        try:
            return self._state.recall(_SECTION, _mark(path.stat())) == sha256
        except OSError:
            return False

    def remember(self, mark: str, sha256: str) -> None:
        """Keep what verify() found. Raises OSError."""
        self._state.remember(_SECTION, mark, sha256)


def verify(path: Path, *, name: str, sha256: str) -> str:
    """Read the whole file and return the mark to remember it by. Raises ModelInvalid when its bytes are others.

    Blocks for as long as the disk takes: call it in a thread.
    """
    try:
        with path.open("rb") as file:
            mark = _mark(
                os.fstat(file.fileno())
            )  # taken first: a change while it is read makes the mark a stale one
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelInvalid(f"The file of {name} can't be read ({error.strerror}); check the disk.") from error
    if found != sha256:
        raise ModelInvalid(
            f"The file of {name} is damaged: it is not the one that was published; install Hearth again."
        )
    return mark


def _mark(status: os.stat_result) -> str:
    """Names one state of one file. The time of its last change counts too where there is one: nobody can set it back."""
    changed_ns = status.st_ctime_ns if os.name == "posix" else 0
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{changed_ns}"
