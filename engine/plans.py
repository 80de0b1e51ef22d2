"""How much of the machine a model gets: GPU layers, context and KV cache, and the steps down when that does not fit.

Pure. The order of the steps: what is given up first is what is missed least. A KV cache in 8 bits is hardly noticed, a
shorter context only in long talks, and work that moves from the GPU to the processor at every word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.model import DEFAULT_N_CTX, KvType, ModelSpec

MIN_N_CTX = 2048  # a shorter context is of little use: it is never chosen, only asked for
ALL_LAYERS = -1

# bytes that a number of the KV cache takes: 8-bit and 4-bit blocks of 32 numbers carry a scale of 2 bytes
KV_BYTES = {KvType.F16: 2.0, KvType.Q8_0: 34 / 32, KvType.Q4_0: 18 / 32}


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """One rung: what is asked of llama.cpp. n_ctx None is min(trained, 8192); n_gpu_layers -1 is all."""

    n_ctx: int | None = None
    n_gpu_layers: int = 0
    kv_type: KvType = KvType.F16


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What a plan needs to know of a model before it is loaded; None where its file does not say."""

    n_layers: int | None = None
    n_ctx_train: int | None = None
    weight_bytes: int = 0
    kv_values_per_token: int | None = None
    embedding: bool = False


def ladder(model: ModelSpec, shape: ModelShape, *, has_gpu: bool) -> tuple[LoadPlan, ...]:
    """The plans from the best to the smallest. What the spec names is in all of them: it is kept, or the load fails."""
    plans: list[LoadPlan] = []
    for n_gpu_layers in _layer_steps(model, shape, has_gpu=has_gpu):
        is_part = n_gpu_layers not in {0, ALL_LAYERS} and model.n_gpu_layers is None
        steps = list(_memory_steps(model, shape))
        # with some layers on the GPU only the smallest caches are tried: each trial takes a load
        for n_ctx, kv_type in steps[-1:] if is_part else steps:
            plans.append(LoadPlan(n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, kv_type=kv_type))
    return tuple(plans)


def host_bytes(plan: LoadPlan, shape: ModelShape) -> int:
    """The least that a plan takes of the computer's own memory; 0 where the GPU holds an unknown part."""
    if plan.n_gpu_layers != 0:
        return 0
    kv_values = (shape.kv_values_per_token or 0) * (plan.n_ctx or DEFAULT_N_CTX)
    return shape.weight_bytes + int(kv_values * KV_BYTES[plan.kv_type])


def _layer_steps(model: ModelSpec, shape: ModelShape, *, has_gpu: bool) -> Iterator[int]:
    if not has_gpu:
        yield 0
        return
    if model.n_gpu_layers is not None:
        yield model.n_gpu_layers
        return
    yield ALL_LAYERS
    n_layers = (shape.n_layers or 0) // 2
    while n_layers > 0:
        yield n_layers
        n_layers //= 2
    yield 0


def _memory_steps(model: ModelSpec, shape: ModelShape) -> Iterator[tuple[int | None, KvType]]:
    n_ctx = model.n_ctx or DEFAULT_N_CTX
    if shape.n_ctx_train:
        n_ctx = min(n_ctx, shape.n_ctx_train)
    is_known = model.n_ctx is not None or shape.n_ctx_train is not None
    whole = n_ctx if is_known else None  # a file that does not say: the loaded model does
    yield whole, model.kv_type or KvType.F16
    if shape.embedding:  # it keeps little or nothing of what it has read, and a shorter text is another text
        return
    kv_type = model.kv_type or KvType.Q8_0
    if model.kv_type is None:
        yield whole, kv_type
    while model.n_ctx is None and n_ctx > MIN_N_CTX:
        n_ctx = max(n_ctx // 2, MIN_N_CTX)
        yield n_ctx, kv_type
