"""Factories for the tests of states: stores on a folder, and states that can be told from each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.model import CacheSpec, KvType
from engine.states.snapshots import SnapshotStore, StateIdentity

KEY = "5a" * 32
IDENTITY = StateIdentity(model="m", build="b1", kv_type=KvType.F16, flash_attention=True, n_ctx=4096)
SETTLE_S = 30.0


def state(tokens: Sequence[int], size_bytes: int = 1000) -> bytes:
    """The one state of these tokens: the same bytes each time, others for any other tokens."""
    return hashlib.shake_256(repr(list(tokens)).encode()).digest(size_bytes)


def make_store(
    folder: Path | None = None,
    *,
    ram_bytes: int = 1 << 20,
    disk_bytes: int = 1 << 30,
    key: str | None = KEY,
    can_rewind: bool = True,
    notes: list[str] | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    **identity: Any,
) -> SnapshotStore:
    return SnapshotStore(
        CacheSpec(ram_bytes=ram_bytes, disk_bytes=disk_bytes, folder=folder, key=key),
        identity=replace(IDENTITY, **identity),
        can_rewind=can_rewind,
        note=(notes if notes is not None else []).append,
        clock=clock,
    )


def read(store: SnapshotStore, tokens: Sequence[int]) -> tuple[int, bytes] | None:
    """What the store offers for a prompt: how much of it, and the state."""
    hit = store.find(tokens)
    data = hit.read() if hit is not None else None
    return None if hit is None or data is None else (hit.n_tokens, bytes(data))
