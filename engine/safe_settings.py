"""The ladder of ever more careful load settings, and the memory of which rung works on this computer."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.state_file import StateFile

_SECTION = "settings"


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
    """Remembers the rungs. A lost memory only means that the self-test runs again."""

    def __init__(self, state: StateFile) -> None:
        self._state = state

    def recall(self, key: str) -> SafeMode | None:
        """The rung that worked, if one is remembered."""
        value = self._state.recall(_SECTION, key)
        return SafeMode(value) if value in set(SafeMode) else None

    def remember(self, key: str, mode: SafeMode) -> None:
        """Keep the rung that worked. Raises OSError."""
        self._state.remember(_SECTION, key, mode.value)

    def forget(self, key: str) -> None:
        """Let the next start run the self-test again. Raises OSError."""
        self._state.forget(_SECTION, key)
