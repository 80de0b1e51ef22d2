"""Loads a model and makes its context by a plan: weights, KV cache, and what they take of the machine.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import psutil

from engine.errors import ModelInvalid, ModelTooLarge
from engine.llama.library import LlamaLibrary
from engine.messages import Load, Loaded
from engine.model import DEFAULT_N_CTX, KvType

N_BATCH = 512
KEPT_SEQUENCES = 16  # sequence ids beside the slots, for prefixes of finished requests
# Texts for one embedding batch. Attention looks at all of them and throws most of it away: with all-MiniLM on a processor
# 2,048 tokens at once are a quarter slower than 512. An accelerator needs more to be busy.
EMBEDDING_TOKENS, EMBEDDING_TOKENS_OFFLOADED = 512, 2048
_NO_CHAT_MODEL = "The model {path} does not write text; choose a chat model."
_POOLINGS = (
    llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    llama_cpp.LLAMA_POOLING_TYPE_CLS,
    llama_cpp.LLAMA_POOLING_TYPE_LAST,
)
_PROGRESS_STEP = 0.01
_GGML_TYPES = {
    KvType.F16: llama_cpp.GGML_TYPE_F16,
    KvType.Q8_0: llama_cpp.GGML_TYPE_Q8_0,
    KvType.Q4_0: llama_cpp.GGML_TYPE_Q4_0,
}


def default_threads() -> int:
    """One thread a physical core that this process may use: more of them only wait for each other."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return cores


def embedding_tokens(load: Load) -> int:
    """How many tokens of texts an embedding batch is filled up to; a longer text goes alone."""
    return EMBEDDING_TOKENS_OFFLOADED if load.plan.n_gpu_layers else EMBEDDING_TOKENS


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """Native handles of a model with one context; close() frees both."""

    model: Any
    context: Any
    n_threads: int
    n_seq_max: int
    facts: Loaded

    def close(self) -> None:
        """Free context and model."""
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


def load_model(
    load: Load,
    *,
    library: LlamaLibrary,
    beat: Callable[[], None],
    on_progress: Callable[[float], None] = lambda _: None,
    n_seq_max: int = 1,
    embedding: bool = False,
) -> LoadedModel:
    """The model of the load message with a context by its plan, to write text or to make vectors.

    on_progress hears of each hundredth of the file; beat is called in between. Raises ModelInvalid or ModelTooLarge.
    """
    path = Path(load.path)
    n_threads = 1 if load.settings.one_thread else load.n_threads or default_threads()
    model = _load_weights(path, load, library=library, beat=beat, on_progress=on_progress)
    try:
        if not embedding:
            _check_writes_text(path, model)
        make_context = _make_embedding_context if embedding else _make_context
        context = make_context(model, load, library=library, n_threads=n_threads, n_seq_max=n_seq_max)
    except BaseException:
        llama_cpp.llama_model_free(model)
        raise
    refusal = _refusal(context, embedding=embedding)
    if refusal is not None:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)
        raise ModelInvalid(refusal.format(path=path))
    facts = _facts(model, context, load, n_threads, library=library, embedding=embedding)
    try:
        _check_memory(load, library)
    except ModelTooLarge:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)
        raise
    return LoadedModel(model=model, context=context, n_threads=n_threads, n_seq_max=n_seq_max, facts=facts)


def _check_memory(load: Load, library: LlamaLibrary) -> None:
    """Refuse what would make the computer swap. Raises ModelTooLarge."""
    taken_bytes = sum(buffer.size_bytes for buffer in library.buffers if buffer.is_host)
    limit_bytes = load.memory_limit_bytes
    if limit_bytes is not None and taken_bytes > limit_bytes:
        raise ModelTooLarge(
            f"The model {Path(load.path).stem} needs {taken_bytes / 1e6:,.0f} MB of memory and "
            f"{limit_bytes / 1e6:,.0f} MB are free; close other programs or choose a smaller model."
        )


def _check_writes_text(path: Path, model: Any) -> None:
    if llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_model_has_decoder(model):
        raise ModelInvalid(_NO_CHAT_MODEL.format(path=path))


def _refusal(context: Any, *, embedding: bool) -> str | None:
    """Why a context can't do what it was made for; None when it can."""
    if not embedding:
        return None if llama_cpp.llama_get_causal_attn(context) else _NO_CHAT_MODEL
    pooling = llama_cpp.llama_pooling_type(context)
    if pooling == llama_cpp.LLAMA_POOLING_TYPE_RANK:
        return "The model {path} ranks texts and makes no vectors; choose an embedding model."
    if pooling not in _POOLINGS:
        return "The model {path} does not say how a text becomes one vector; choose another embedding model."
    return None


def _load_weights(
    path: Path,
    load: Load,
    *,
    library: LlamaLibrary,
    beat: Callable[[], None],
    on_progress: Callable[[float], None],
) -> Any:
    told = -1.0

    def progress(fraction: float, _data: int | None) -> bool:
        nonlocal told
        if fraction - told >= _PROGRESS_STEP:
            told = fraction
            on_progress(min(max(fraction, 0.0), 1.0))
        beat()
        return True

    library.begin_load()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = load.plan.n_gpu_layers
    params.use_extra_bufts = load.settings.use_extra_bufts
    params.load_mode = (
        llama_cpp.LLAMA_LOAD_MODE_MMAP if load.settings.use_mmap else llama_cpp.LLAMA_LOAD_MODE_NONE
    )
    callback = llama_cpp.llama_progress_callback(progress)
    params.progress_callback = callback
    model = llama_cpp.llama_model_load_from_file(str(path).encode("utf-8", "surrogateescape"), params)
    if not model and library.lacks_memory():
        raise ModelTooLarge(
            f"There is no room for the model {path.stem} ({library.last_error()}); "
            "close other programs or choose a smaller model."
        )
    if not model:
        raise ModelInvalid(
            f"The model file {path} can't be loaded ({library.last_error()}); choose another GGUF file."
        )
    return model


def _make_context(model: Any, load: Load, *, library: LlamaLibrary, n_threads: int, n_seq_max: int) -> Any:
    params = _context_params(load, n_threads=n_threads, n_seq_max=n_seq_max)
    params.n_ctx = _context_size(model, load)
    params.n_batch = params.n_ubatch = N_BATCH
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise ModelTooLarge(
            f"There is no room for a context of {params.n_ctx:,} tokens "
            f"({library.last_error()}); choose a smaller n_ctx or a smaller model."
        )
    return context


def _make_embedding_context(
    model: Any, load: Load, *, library: LlamaLibrary, n_threads: int, n_seq_max: int
) -> Any:
    params = _context_params(load, n_threads=n_threads, n_seq_max=n_seq_max)
    params.embeddings = True
    n_text = _context_size(model, load)
    # a token may look at what follows it, so that a text has to be in the batch as a whole
    params.n_ctx = params.n_batch = params.n_ubatch = max(n_text, embedding_tokens(load))
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise ModelTooLarge(
            f"There is no room for texts of {n_text:,} tokens "
            f"({library.last_error()}); choose a smaller n_ctx or a smaller model."
        )
    return context


def _context_size(model: Any, load: Load) -> int:
    n_ctx, trained = load.plan.n_ctx or DEFAULT_N_CTX, llama_cpp.llama_model_n_ctx_train(model)
    return min(n_ctx, trained) if trained > 0 else n_ctx


def _context_params(load: Load, *, n_threads: int, n_seq_max: int) -> Any:
    params = llama_cpp.llama_context_default_params()
    params.n_seq_max = n_seq_max
    params.kv_unified = True  # all sequences share the cells: one may use the whole context
    params.n_threads = params.n_threads_batch = n_threads
    params.type_k = params.type_v = _GGML_TYPES[load.plan.kv_type]
    if not load.settings.flash_attention:  # without it llama.cpp takes no quantised values
        params.type_v = llama_cpp.GGML_TYPE_F16
    params.flash_attn_type = (
        llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        if load.settings.flash_attention
        else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    return params


def _facts(
    model: Any, context: Any, load: Load, n_threads: int, *, library: LlamaLibrary, embedding: bool
) -> Loaded:
    buffers = library.buffers
    description = ctypes.create_string_buffer(256)
    llama_cpp.llama_model_desc(model, description, len(description))
    return Loaded(
        description=description.value.decode("utf-8", "replace"),
        n_ctx=_context_size(model, load) if embedding else llama_cpp.llama_n_ctx(context),
        n_ctx_train=llama_cpp.llama_model_n_ctx_train(model),
        n_vocab=llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model)),
        n_params=llama_cpp.llama_model_n_params(model),
        size_bytes=llama_cpp.llama_model_size(model),
        n_threads=n_threads,
        n_layers=llama_cpp.llama_model_n_layer(model),
        memory_bytes=max(sum(buffer.size_bytes for buffer in buffers), llama_cpp.llama_model_size(model)),
        kv_bytes=sum(buffer.size_bytes for buffer in buffers if buffer.purpose in {"KV", "RS"}),
        n_slots=load.n_slots,
        n_gpu_layers=_n_offloaded(load, library),
        kv_type=load.plan.kv_type,
        flash_attention=load.settings.flash_attention,
        has_chat_template=not embedding and llama_cpp.llama_model_chat_template(model, None) is not None,
        embedding=embedding,
        n_embd=llama_cpp.llama_model_n_embd_out(model) if embedding else 0,
    )


def _n_offloaded(load: Load, library: LlamaLibrary) -> int:
    if not library.devices:
        return 0
    return max(load.plan.n_gpu_layers, 0) if library.n_offloaded is None else library.n_offloaded
