"""The ladder of ever more careful load settings, and what the user is told about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


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
