"""How the engine is: the states of its child, what is shown to people, and counters for metrics; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum


class EngineState(StrEnum):
    """Where the engine child is in its life."""

    STOPPED = "stopped"  # no child; one is started by the next request
    STARTING = "starting"  # the child is being spawned, or loads the model
    SELF_TEST = "self_test"  # first start on this computer: a trial decode finds settings that do not crash
    READY = "ready"  # loaded and idle
    BUSY = "busy"  # a request is being served
    RESTARTING = "restarting"  # the child died; waiting out the back-off before the next start
    SET_ASIDE = "set_aside"  # died too often: refuses work until retry_model()


ALLOWED_TRANSITIONS: Mapping[EngineState, frozenset[EngineState]] = {
    EngineState.STOPPED: frozenset({EngineState.STARTING, EngineState.RESTARTING}),
    EngineState.STARTING: frozenset(
        {
            EngineState.SELF_TEST,
            EngineState.READY,
            EngineState.RESTARTING,
            EngineState.SET_ASIDE,
            EngineState.STOPPED,
        }
    ),
    EngineState.SELF_TEST: frozenset({EngineState.READY, EngineState.SET_ASIDE, EngineState.STOPPED}),
    EngineState.READY: frozenset(
        {EngineState.BUSY, EngineState.RESTARTING, EngineState.SET_ASIDE, EngineState.STOPPED}
    ),
    EngineState.BUSY: frozenset(
        {EngineState.READY, EngineState.RESTARTING, EngineState.SET_ASIDE, EngineState.STOPPED}
    ),
    EngineState.RESTARTING: frozenset({EngineState.STARTING, EngineState.SET_ASIDE, EngineState.STOPPED}),
    EngineState.SET_ASIDE: frozenset({EngineState.STARTING, EngineState.STOPPED}),
}


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """A snapshot for people: the state, what runs, and what they should know."""

    state: EngineState
    model_name: str | None = None
    model_path: str | None = None
    n_ctx: int | None = None
    pid: int | None = None
    notice: str | None = None  # one sentence for the user, such as that safe settings are in use
    deaths: int = 0  # unexpected ends of the child since this supervisor was made
    tokens_per_s: float | None = None  # of the last finished request
    safe_mode: str | None = None  # the name of the safe setting in use
    reason: str | None = None  # why the model is set aside, or why the last start failed
    load_progress: float | None = None  # 0 to 1 while a model is loaded
    plan: str | None = None  # in words: what runs where, with which context and KV cache, and why
    memory_bytes: int | None = None  # of weights, KV cache and buffers, once loaded
    embedding: bool = False  # the model turns texts into vectors and writes none
    running: int = 0  # requests in work
    waiting: int = 0  # requests that wait for a slot


@dataclass(frozen=True, kw_only=True)
class EngineCounters:
    """What was counted since the engine was made; gauges are as of the last step."""

    running: int = 0  # gauge: sequences in slots
    waiting: int = 0  # gauge: requests without a slot
    swapped: int = 0  # gauge: requests that gave way, their state kept outside the KV cache
    kv_cells: int = 0  # gauge: size of the KV cache in tokens
    kv_used: int = 0  # gauge: cells that hold something
    n_threads: int = 0  # gauge: threads of the last step
    ram_cache_bytes: int = 0  # gauge
    disk_cache_bytes: int = 0  # gauge
    batches: int = 0
    batch_tokens: int = 0  # over batches: the mean fill
    batch_sequences: int = 0  # over batches: the mean number of sequences
    prompt_tokens: int = 0  # asked for, cached ones included
    cached_resident_tokens: int = 0
    cached_ram_tokens: int = 0
    cached_disk_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0  # times that a running request stood back for another
    swaps_out: int = 0
    swaps_in: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    native_s: float = 0.0  # inside llama.cpp
    python_s: float = 0.0  # the engine's own share of the steps

    def after(self, earlier: EngineCounters) -> EngineCounters:
        """The gauges of these, and the sums of both."""
        sums = {
            each.name: getattr(self, each.name) + getattr(earlier, each.name)
            for each in fields(self)
            if each.name not in GAUGES
        }
        return replace(self, **sums)


GAUGES = frozenset(
    {
        "running",
        "waiting",
        "swapped",
        "kv_cells",
        "kv_used",
        "n_threads",
        "ram_cache_bytes",
        "disk_cache_bytes",
    }
)
