"""Remembers which plan and settings work for a model on this computer. A lost memory only means another trial load."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import TypeAdapter

from engine.host.descent import Rung
from engine.host.state_file import StateFile
from engine.model import ModelSpec

_SECTION = "plans"
_RUNG: TypeAdapter[Rung] = TypeAdapter(Rung)


def plan_key(
    *, fingerprint: str, build: str, cpu: str, devices: Sequence[str], memory_bytes: int, model: ModelSpec
) -> str:
    """What a remembered rung is valid for: this model, this build of llama.cpp, this computer, these wishes."""
    wishes = (model.n_ctx, model.kv_type, model.n_gpu_layers, model.n_slots)
    parts = (fingerprint, build, cpu, tuple(devices), memory_bytes, wishes)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class PlanMemory:
    """The rungs by their keys."""

    def __init__(self, state: StateFile) -> None:
        self._state = state

    def recall(self, key: str) -> Rung | None:
        """The rung that worked, if one is remembered."""
        value = self._state.recall(_SECTION, key)
        try:
            return None if value is None else _RUNG.validate_json(value)
        except ValueError:  # of another version of Hearth, or damaged
            return None

    def remember(self, key: str, rung: Rung) -> None:
        """Keep the rung that worked. Raises OSError."""
        self._state.remember(_SECTION, key, _RUNG.dump_json(rung).decode())

    def forget(self, key: str) -> None:
        """Let the next start try from the top. Raises OSError."""
        self._state.forget(_SECTION, key)
