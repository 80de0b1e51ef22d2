"""What /metrics tells after some work, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.api.metrics import MAX_AGENT_NAMES, Metrics
from agents.models.energy import EnergyMeters
from agents.models.metering import MeteredEngine
from engine.core import Message, Priority, Request
from engine.errors import EngineDied
from engine.fakes import ScriptedEngine
from engine.status import EngineCounters
from tests.agents.api.doors import MODEL, door_for
from tests.agents.conftest import FakeClock

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hm?"}]}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    """Every sample by its name and labels; the text must be valid."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def no_energy(tmp_path: Path) -> EnergyMeters:
    return EnergyMeters(powercap=tmp_path, power_supply=tmp_path)


async def test_answers_are_counted_by_model_priority_and_caller() -> None:
    async with door_for(ScriptedEngine(["A fire place.", "Yes.", EngineDied("It died.")])) as door:
        for headers in ({"x-hearth-agent": "Editor"}, {"x-hearth-priority": "interactive"}, {}):
            await door.http.post("/v1/chat/completions", json=CHAT, headers=headers)
        await door.http.post("/v1/chat/completions", json={}, headers={"x-hearth-agent": "no/name"})
        await door.http.get("/v1/chat/secret-of-the-caller")
        answer = await door.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "secret-of-the-caller" not in answer.text
    samples = samples_of(answer.text)
    of = {"model": "Scripted", "priority": "normal"}
    assert value(samples, "hearth_answers_total", **of, outcome="stop") == 1
    assert value(samples, "hearth_answers_total", **of, outcome="engine_died") == 1
    assert value(samples, "hearth_time_to_first_token_seconds_count", **of) == 1
    assert value(samples, "hearth_time_per_output_token_seconds_count", **of) == 1
    interactive = {"model": "Scripted", "priority": "interactive"}
    assert value(samples, "hearth_time_to_first_token_seconds_count", **interactive) == 1
    assert (
        value(samples, "hearth_time_per_output_token_seconds_count", **interactive) is None
    )  # one token alone
    path = "/v1/chat/completions"
    assert value(samples, "hearth_api_requests_total", path=path, status="200", agent="Editor") == 1
    assert value(samples, "hearth_api_requests_total", path=path, status="400", agent="") == 1
    assert value(samples, "hearth_api_requests_total", path="other", status="404", agent="") == 1
    assert value(samples, "hearth_engine_state", model="Scripted", state="ready") == 1


async def test_times_are_taken_around_the_stream(clock: FakeClock) -> None:
    engine = ScriptedEngine(["one two three"])
    metrics = Metrics()
    metered = MeteredEngine(engine, model="m", meter=metrics, clock=clock)
    request = Request(id="r", messages=(Message(role="user", content="Hm?"),), priority=Priority.BACKGROUND)
    async for _ in metered.stream(request):
        clock.advance(2)  # before each event but the first
    samples = samples_of((await metrics.render()).decode())
    of = {"model": "m", "priority": "background"}
    assert value(samples, "hearth_time_to_first_token_seconds_sum", **of) == 2
    # two tokens and the end of the stream came after the first token
    assert value(samples, "hearth_time_per_output_token_seconds_sum", **of) == 3


async def test_a_reader_that_leaves_counts_as_cancelled(clock: FakeClock) -> None:
    engine = ScriptedEngine(["one two three"])
    metrics = Metrics()
    stream = MeteredEngine(engine, model="m", meter=metrics, clock=clock).stream(
        Request(id="r", messages=(Message(role="user", content="Hm?"),))
    )
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert engine.cancelled == ["r"]
    samples = samples_of((await metrics.render()).decode())
    assert value(samples, "hearth_answers_total", model="m", priority="normal", outcome="cancelled") == 1


class CountingEngine(ScriptedEngine):
    """An engine whose every counter has a value of its own."""

    def __init__(self) -> None:
        super().__init__([])
        names = EngineCounters.__dataclass_fields__
        self.numbers = {name: 1000 + index for index, name in enumerate(names)}

    @property
    def counters(self) -> EngineCounters:
        return EngineCounters(**self.numbers)  # type: ignore[arg-type]


async def test_every_counter_of_the_engine_is_told(tmp_path: Path) -> None:
    engine = CountingEngine()
    metrics = Metrics(no_energy(tmp_path))
    metrics.watch("m", engine)
    text = (await metrics.render()).decode()
    told = {number for (name, _), number in samples_of(text).items() if name.startswith("hearth_")}
    assert set(engine.numbers.values()) <= told
    assert "joules" not in text  # this machine has no meter: nothing is told, and no zero


async def test_a_header_can_not_fill_the_memory(tmp_path: Path) -> None:
    metrics = Metrics(no_energy(tmp_path))
    for number in range(1000):
        metrics.api_request("/v1/models", 200, f"caller {number}")
    samples = samples_of((await metrics.render()).decode())
    names = [labels for name, labels in samples if name == "hearth_api_requests_total"]
    assert len(names) == MAX_AGENT_NAMES + 1
    told = value(samples, "hearth_api_requests_total", path="/v1/models", status="200", agent="other")
    assert told == 1000 - MAX_AGENT_NAMES


def make_zone(powercap: Path, zone: str, name: str, energy_uj: int, range_uj: int = 10**9) -> Path:
    folder = powercap / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder


async def test_joules_come_from_the_packages_and_the_battery(tmp_path: Path) -> None:
    make_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    make_zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    battery = tmp_path / "BAT0"
    battery.mkdir()
    (battery / "energy_now").write_text("1000000\n")
    metrics = Metrics(EnergyMeters(powercap=tmp_path, power_supply=tmp_path))
    samples = samples_of((await metrics.render()).decode())
    joules = {
        labels: number for (name, labels), number in samples.items() if name == "hearth_energy_joules_total"
    }
    assert joules == {frozenset({("meter", "package-0 (intel-rapl:0)")}): 5.0}
    assert value(samples, "hearth_battery_joules", battery="BAT0") == pytest.approx(3600)


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    meters = EnergyMeters(powercap=tmp_path, power_supply=tmp_path)
    read = []
    for energy_uj in (800_000_000, 900_000_000, 100_000_000, 200_000_000):
        make_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj)
        read.append(meters.read().used["package-0 (intel-rapl:0)"])
    assert read == [800, 900, 1100, 1200]


def test_a_meter_that_can_not_be_read_is_absent(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (zone / "energy_uj").unlink()
    (zone / "energy_uj").mkdir()
    reading = EnergyMeters(powercap=tmp_path, power_supply=tmp_path / "nowhere").read()
    assert (reading.used, reading.stored) == ({}, {})
