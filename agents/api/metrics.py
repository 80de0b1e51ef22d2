"""GET /metrics: what the engines count and what callers waited for, in Prometheus' text form.

Runs in: the runtime's event loop. The registry is this object's own; nothing is shared between two runtimes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.models.energy import EnergyMeters, EnergyReading
from engine.core import Priority
from engine.status import EngineCounters, EngineState
from engine.supervisor import Engine

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_AGENT_NAMES = 64  # a header must not fill the memory; further names count as "other"
FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)

_BY_PRIORITY = ("model", "priority")
# Field of EngineCounters, metric, further label with its value, help.
Table = tuple[tuple[str, str, dict[str, str], str], ...]
_GAUGES: Table = (
    ("running", "requests_running", {}, "Requests in work."),
    ("waiting", "requests_waiting", {}, "Requests that wait for a place in the batch."),
    ("swapped", "requests_swapped", {}, "Requests that gave way, their state kept outside the KV cache."),
    ("kv_cells", "kv_cells", {}, "Size of the KV cache in tokens."),
    ("kv_used", "kv_cells_used", {}, "Cells of the KV cache that hold something."),
    ("n_threads", "threads", {}, "Threads of the last batch."),
    ("ram_cache_bytes", "cache_bytes", {"tier": "ram"}, "Kept states outside the KV cache."),
    ("disk_cache_bytes", "cache_bytes", {"tier": "disk"}, "Kept states outside the KV cache."),
)
_COUNTERS: Table = (
    ("batches", "batches", {}, "Batches computed."),
    ("batch_tokens", "batch_tokens", {}, "Tokens in all batches; over the batches, the mean fill."),
    ("batch_sequences", "batch_sequences", {}, "Sequences in all batches; over the batches, the mean."),
    ("prompt_tokens", "prompt_tokens", {}, "Prompt tokens asked for, cached ones included."),
    ("cached_resident_tokens", "cached_prompt_tokens", {"tier": "resident"}, "Prompt tokens not computed."),
    ("cached_ram_tokens", "cached_prompt_tokens", {"tier": "ram"}, "Prompt tokens not computed."),
    ("cached_disk_tokens", "cached_prompt_tokens", {"tier": "disk"}, "Prompt tokens not computed."),
    ("generated_tokens", "generated_tokens", {}, "Tokens written."),
    ("preemptions", "preemptions", {}, "Times that a running request stood back for another."),
    ("swaps_out", "swaps", {"direction": "out"}, "Requests' states moved out of and into the KV cache."),
    ("swaps_in", "swaps", {"direction": "in"}, "Requests' states moved out of and into the KV cache."),
    ("drafted_tokens", "drafted_tokens", {}, "Tokens guessed ahead."),
    ("accepted_tokens", "accepted_tokens", {}, "Guessed tokens that the model would have chosen too."),
    ("native_s", "engine_seconds", {"part": "native"}, "Time in llama.cpp, and the engine's own share."),
    ("python_s", "engine_seconds", {"part": "python"}, "Time in llama.cpp, and the engine's own share."),
)


class Metrics:
    """Takes measurements (agents.models.metering.StreamMeter) and renders all there is to know."""

    def __init__(self, energy: EnergyMeters | None = None) -> None:
        self._energy = energy or EnergyMeters()
        self._engines: dict[str, Engine] = {}
        self._agents: set[str] = set()
        registry = self._registry = CollectorRegistry(auto_describe=False)
        self._first_token = Histogram(
            "hearth_time_to_first_token_seconds", "From asking to the first token.", _BY_PRIORITY,
            buckets=FIRST_TOKEN_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._token_time = Histogram(
            "hearth_time_per_output_token_seconds", "From token to token, the mean of each answer.", _BY_PRIORITY,
            buckets=TOKEN_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._answers = Counter(
            "hearth_answers", "Answers that ended, by how.", (*_BY_PRIORITY, "outcome"), registry=registry
        )
        self._requests = Counter(
            "hearth_api_requests",
            "Requests to the model API.",
            ("path", "status", "agent"),
            registry=registry,
        )

    def watch(self, model: str, engine: Engine) -> None:
        """From now on this engine's counters and state are shown under the model's name."""
        self._engines[model] = engine

    def first_token(self, model: str, priority: Priority, wait_s: float) -> None:
        self._first_token.labels(model, priority.name.lower()).observe(wait_s)

    def token_time(self, model: str, priority: Priority, per_token_s: float) -> None:
        self._token_time.labels(model, priority.name.lower()).observe(per_token_s)

    def ended(self, model: str, priority: Priority, outcome: str) -> None:
        self._answers.labels(model, priority.name.lower(), outcome).inc()

    def api_request(self, path: str, status: int, agent: str | None) -> None:
        """Count one answered request; `path` is a route's own, so there are few."""
        name = agent or ""
        if name not in self._agents and len(self._agents) >= MAX_AGENT_NAMES:
            name = "other"
        else:
            self._agents.add(name)
        self._requests.labels(path, str(status), name).inc()

    async def render(self) -> bytes:
        """Everything, read now."""
        energy = await asyncio.to_thread(self._energy.read)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Engines(self._engines))
        registry.register(_Energy(energy))
        return generate_latest(self._registry) + generate_latest(registry)


class _Engines(Collector):
    """The engines' own numbers. Sums go on over the death of a child; a gauge is 0 while there is none."""

    def __init__(self, engines: dict[str, Engine]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        counted = {model: engine.counters for model, engine in self._engines.items()}
        yield from _families(GaugeMetricFamily, _GAUGES, counted)
        yield from _families(CounterMetricFamily, _COUNTERS, counted)
        yield from self._states()

    def _states(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "hearth_engine_state", "1 for the state it is in.", labels=("model", "state")
        )
        deaths = CounterMetricFamily(
            "hearth_engine_deaths", "Unexpected ends of the child.", labels=("model",)
        )
        rate = GaugeMetricFamily(
            "hearth_tokens_per_second", "Of the last finished request.", labels=("model",)
        )
        memory = GaugeMetricFamily(
            "hearth_model_memory_bytes", "Weights, KV cache and buffers.", labels=("model",)
        )
        for model, engine in self._engines.items():
            status = engine.status
            for each in EngineState:
                state.add_metric((model, each.value), float(each is status.state))
            deaths.add_metric((model,), status.deaths)
            if status.tokens_per_s is not None:
                rate.add_metric((model,), status.tokens_per_s)
            if status.memory_bytes is not None:
                memory.add_metric((model,), status.memory_bytes)
        yield from (state, deaths, rate, memory)


class _Energy(Collector):
    """The machine's meters; a metric without any meter is left out."""

    def __init__(self, reading: EnergyReading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        if self._reading.used:
            used = CounterMetricFamily("hearth_energy_joules", "Used by the machine.", labels=("meter",))
            for name, joules in self._reading.used.items():
                used.add_metric((name,), joules)
            yield used
        if self._reading.stored:
            stored = GaugeMetricFamily("hearth_battery_joules", "Left in the battery.", labels=("battery",))
            for name, joules in self._reading.stored.items():
                stored.add_metric((name,), joules)
            yield stored


def _families(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    table: Table,
    counted: dict[str, EngineCounters],
) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for field, name, extra, text in table:
        if name not in families:
            families[name] = kind(f"hearth_{name}", text, labels=("model", *extra))
        for model, counters in counted.items():
            families[name].add_metric((model, *extra.values()), getattr(counters, field))
    yield from families.values()
