"""Mains, batteries and the processor's temperature, from Linux' /sys. Blocking: some drivers ask the hardware at each read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SYS = Path("/sys")
_CPU_SENSORS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "acpitz_cpu"})
_CPU_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu0-thermal", "soc-thermal", "cpuss")
_OFFSET_LABEL = "Tctl"  # on some processors higher than the true temperature, which is then Tdie
_SANE_C = (1.0, 150.0)  # sensors that are asleep tell 0 or a huge number
_PORTABLE_CHASSIS = frozenset(
    {"8", "9", "10", "14", "30", "31", "32"}
)  # SMBIOS: laptops, tablets and their kind


def on_ac(root: Path = SYS) -> bool | None:
    """Whether the computer is plugged in. One without any battery is; a laptop that shows none does not tell."""
    supplies = list((root / "class/power_supply").glob("*"))
    batteries = list(_batteries(supplies))
    mains = [_text(supply / "online") for supply in supplies if _text(supply / "type") == "Mains"]
    usb = [
        _text(supply / "online") for supply in supplies if (_text(supply / "type") or "").startswith("USB")
    ]
    if "1" in mains:
        return True
    if not batteries:
        return _is_plugged_in_without_battery(root)
    states = {_text(battery / "status") for battery in batteries}
    if "Discharging" in states:
        return False
    if "1" in usb or states & {"Charging", "Full", "Not charging"}:
        return True
    return False if "0" in mains else None


def battery_percent(root: Path = SYS) -> float | None:
    """What all batteries hold together, of what they can hold."""
    batteries = list(_batteries(list((root / "class/power_supply").glob("*"))))
    for unit in ("energy", "charge"):  # never mixed: watt hours and ampere hours add up to nothing
        held = [_number(battery / f"{unit}_now") for battery in batteries]
        most = [_number(battery / f"{unit}_full") for battery in batteries]
        if batteries and None not in held and None not in most:
            full = sum(filter(None, most))
            if full > 0:
                return min(100.0, 100.0 * sum(filter(None, held)) / full)
    percents = [percent for battery in batteries if (percent := _number(battery / "capacity")) is not None]
    return min(100.0, sum(percents) / len(percents)) if percents else None


def low_power_profile(root: Path = SYS) -> bool | None:
    """Whether the firmware's power profile is its saving one."""
    profile = _text(root / "firmware/acpi/platform_profile")
    return None if profile is None else profile == "low-power"


def cpu_temperature_c(root: Path = SYS) -> float | None:
    """The hottest of the processor's own sensors; those of disks, cards and the board say nothing about it."""
    found = [*_hwmon_temperatures(root), *_zone_temperatures(root)]
    return max(found, default=None)


def _is_plugged_in_without_battery(root: Path) -> bool | None:
    if not (root / "class/power_supply").is_dir():
        return None
    return None if _text(root / "class/dmi/id/chassis_type") in _PORTABLE_CHASSIS else True


def _batteries(supplies: list[Path]) -> Iterator[Path]:
    """The computer's own: those of mice and pens have the scope Device."""
    for supply in supplies:
        is_own = _text(supply / "scope") != "Device" and _text(supply / "present") != "0"
        if _text(supply / "type") == "Battery" and is_own:
            yield supply


def _hwmon_temperatures(root: Path) -> Iterator[float]:
    for chip in (root / "class/hwmon").glob("hwmon*"):
        if _text(chip / "name") not in _CPU_SENSORS:
            continue
        inputs = {
            path: _text(path.with_name(path.name.replace("_input", "_label")))
            for path in chip.glob("temp*_input")
        }
        labels = set(inputs.values())
        for path, label in inputs.items():
            if label == _OFFSET_LABEL and "Tdie" in labels:
                continue
            yield from _celsius(path)


def _zone_temperatures(root: Path) -> Iterator[float]:
    for zone in (root / "class/thermal").glob("thermal_zone*"):
        if (_text(zone / "type") or "").startswith(_CPU_ZONES):
            yield from _celsius(zone / "temp")


def _celsius(path: Path) -> Iterator[float]:
    milli = _number(path)
    if milli is not None and _SANE_C[0] < milli / 1000 < _SANE_C[1]:
        yield milli / 1000


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):  # a driver may refuse a read at any time
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
