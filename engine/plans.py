"""How much of the machine a model gets: GPU layers, context and KV cache, and the steps down when that does not fit."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model import KvType


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """One rung: what is asked of llama.cpp. n_ctx None is min(trained, 8192); n_gpu_layers -1 is all."""

    n_ctx: int | None = None
    n_gpu_layers: int = 0
    kv_type: KvType = KvType.F16
