"""The ladder of ever more careful load settings, and the file that remembers which rung works on this computer."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MAX_REMEMBERED = 64
_FORMAT = 1


class SafeMode(StrEnum):
    """Names of the rungs; stable, because they are written to the state file."""

    FULL_SPEED = "full_speed"  # every fast path that llama.cpp picks for this processor
    PLAIN_BUFFERS = (
        "plain_buffers"  # no repacked weights: avoids the matrix instructions that are known to crash
    )
    MOST_CAREFUL = "most_careful"  # also one thread, no flash attention, no memory map


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """The switches of llama.cpp that decide between fast and safe."""

    use_extra_bufts: bool = True
    flash_attention: bool = True
    use_mmap: bool = True
    one_thread: bool = False


LADDER: Mapping[SafeMode, LoadSettings] = {
    SafeMode.FULL_SPEED: LoadSettings(),
    SafeMode.PLAIN_BUFFERS: LoadSettings(use_extra_bufts=False),
    SafeMode.MOST_CAREFUL: LoadSettings(
        use_extra_bufts=False, flash_attention=False, use_mmap=False, one_thread=True
    ),
}

NOTICES: Mapping[SafeMode, str | None] = {
    SafeMode.FULL_SPEED: None,
    SafeMode.PLAIN_BUFFERS: "The engine crashed with this computer's fastest instructions, so it runs with safe "
    "settings; answers may be a little slower.",
    SafeMode.MOST_CAREFUL: "The engine crashed with this computer's faster settings, so it runs with its most "
    "careful ones; answers will be slower.",
}


def cpu_model() -> str:
    """A name for this processor and its instruction sets, the same at every start."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in text.splitlines() if line.startswith(wanted)}))


def settings_key(*, fingerprint: str, build: str, cpu: str) -> str:
    """What a remembered rung is valid for: this model, this build of llama.cpp, this processor."""
    return hashlib.sha256(f"{fingerprint}\0{build}\0{cpu}".encode()).hexdigest()


class SettingsMemory:
    """A small JSON file (0600, written atomically). An unreadable file only means that the self-test runs again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, key: str) -> SafeMode | None:
        """The rung that worked, if one is remembered."""
        value = self._load().get(key)
        return SafeMode(value) if value in set(SafeMode) else None

    def remember(self, key: str, mode: SafeMode) -> None:
        """Keep the rung that worked; the oldest entries make room."""
        entries = {known: value for known, value in self._load().items() if known != key}
        entries[key] = mode.value
        self._save(dict(list(entries.items())[-MAX_REMEMBERED:]))

    def forget(self, key: str) -> None:
        """Let the next start run the self-test again."""
        entries = self._load()
        if entries.pop(key, None) is not None:
            self._save(entries)

    def _load(self) -> dict[str, str]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            return {}
        entries = content.get("settings")
        if not isinstance(entries, dict):
            return {}
        return {key: value for key, value in entries.items() if isinstance(value, str)}

    def _save(self, entries: Mapping[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "settings": entries}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
