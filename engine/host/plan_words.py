"""A load plan and what came of it, in one to three sentences for the user; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.messages import Loaded
from engine.model import DEFAULT_N_CTX, ModelSpec
from engine.plans import ALL_LAYERS, LoadPlan


def explain(loaded: Loaded, *, model: ModelSpec, best: LoadPlan, devices: Sequence[str]) -> str:
    """What runs where, and what was given up against the best plan."""
    if loaded.embedding:
        rest = f"texts of up to {loaded.n_ctx:,} tokens."
    else:
        size = f" ({loaded.kv_bytes / 1e6:,.0f} MB)" if loaded.kv_bytes else ""
        rest = f"a context of {loaded.n_ctx:,} tokens, KV cache {loaded.kv_type.value}{size}."
    return " ".join([f"{_where(loaded, devices)}, {rest}", *_given_up(loaded, model, best)])


def _where(loaded: Loaded, devices: Sequence[str]) -> str:
    if loaded.n_gpu_layers == 0:
        return f"All on the processor: {_layers(loaded.n_layers)}"
    name = f" ({devices[0]})" if devices else ""
    if loaded.n_gpu_layers >= loaded.n_layers:
        return f"All on the GPU{name}: {_layers(loaded.n_layers)}"
    return f"{loaded.n_gpu_layers} of {loaded.n_layers} layers on the GPU{name}, the others on the processor"


def _layers(n_layers: int) -> str:
    return "1 layer" if n_layers == 1 else f"{n_layers} layers"


def _given_up(loaded: Loaded, model: ModelSpec, best: LoadPlan) -> Iterator[str]:
    n_ctx, wanted = best.n_ctx or DEFAULT_N_CTX, model.n_ctx or 0
    if loaded.n_ctx_train:
        n_ctx = min(n_ctx, loaded.n_ctx_train)
        if wanted > loaded.n_ctx >= loaded.n_ctx_train:
            yield f"The model was trained for {loaded.n_ctx_train:,} tokens, so it gets no more."
    if model.n_gpu_layers and best.n_gpu_layers == 0:
        yield "There is no GPU that this engine can use."
    if best.n_gpu_layers == ALL_LAYERS and loaded.n_gpu_layers == 0:
        yield "The GPU could not be used."
    elif best.n_gpu_layers == ALL_LAYERS and loaded.n_gpu_layers < loaded.n_layers:
        yield "The GPU has no room for more layers."
    if loaded.kv_type is not best.kv_type or loaded.n_ctx < n_ctx:
        yield f"There was no room for {n_ctx:,} tokens in {best.kv_type.value}."
