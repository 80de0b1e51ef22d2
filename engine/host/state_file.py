"""What the engine remembers between its starts: a small JSON file of named sections, each text by text.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_REMEMBERED = 64  # entries of a section; the oldest make room
_FORMAT = 1


class StateFile:
    """Private (0600) and written atomically. A file that can't be read is an empty one: all in it can be found out again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, section: str, key: str) -> str | None:
        """What is remembered there."""
        return _texts(self._load().get(section)).get(key)

    def remember(self, section: str, key: str, value: str) -> None:
        """Keep one entry as the newest of its section. Raises OSError."""
        content = self._load()
        entries = {known: kept for known, kept in _texts(content.get(section)).items() if known != key}
        entries[key] = value
        content[section] = dict(list(entries.items())[-MAX_REMEMBERED:])
        self._save(content)

    def forget(self, section: str, key: str) -> None:
        """Drop one entry, if it is there. Raises OSError."""
        content = self._load()
        entries = _texts(content.get(section))
        if entries.pop(key, None) is not None:
            content[section] = entries
            self._save(content)

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            return {}
        return content

    def _save(self, content: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({**content, "format": _FORMAT}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def _texts(section: object) -> dict[str, str]:
    if not isinstance(section, dict):
        return {}
    return {key: value for key, value in section.items() if isinstance(value, str)}
