"""Energy is what meters tell, or unknown: never made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.models.energy import EnergyCounter, EnergyMeters, EnergyReading, joules_between


def reading(used: dict[str, float] | None = None, stored: dict[str, float] | None = None) -> EnergyReading:
    return EnergyReading(used=used or {}, stored=stored or {})


@pytest.mark.parametrize(
    ("before", "after", "joules"),
    [
        (reading({"cpu": 10.0}), reading({"cpu": 25.0}), 15.0),
        (reading({"cpu": 10.0, "gpu0": 5.0}), reading({"cpu": 12.0, "gpu0": 9.0}), 6.0),
        (reading({"cpu": 10.0, "gpu0": 5.0}), reading({"cpu": 12.0}), 2.0),  # the card's driver was unloaded
        (reading(), reading(), None),
        (reading(stored={"BAT0": 100.0}), reading(stored={"BAT0": 90.0}), 10.0),
        (reading(stored={"BAT0": 100.0}), reading(stored={"BAT0": 100.0}), None),
        (reading(stored={"BAT0": 90.0}), reading(stored={"BAT0": 100.0}), None),  # it is being charged
        (reading({"cpu": 10.0}, {"BAT0": 9.0}), reading({"cpu": 11.0}, {"BAT0": 1.0}), 1.0),
    ],
)
def test_what_was_used_between_two_readings(
    before: EnergyReading, after: EnergyReading, joules: float | None
) -> None:
    assert joules_between(before, after) == joules


async def test_a_machine_without_meters_says_nothing_and_is_asked_once(tmp_path: Path) -> None:
    counter = EnergyCounter(EnergyMeters(powercap=tmp_path / "none", power_supply=tmp_path / "none"))
    first = await counter.read()
    if first is not None:
        pytest.skip("this machine has a graphics card that counts")
    zone = tmp_path / "none" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("1000000\n")
    assert await counter.read() is None
    assert await counter.since(first) is None


async def test_a_processor_that_counts_tells_what_a_step_took(tmp_path: Path) -> None:
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("1000000\n")
    meters = EnergyMeters(powercap=tmp_path, power_supply=tmp_path / "none")
    counter = EnergyCounter(meters)
    before = await counter.read()
    (zone / "energy_uj").write_text("3500000\n")
    after = await counter.since(before)
    assert after is not None
    assert after >= 2.5
