"""What /sys tells of power and heat, on trees as laptops, desktops and odd machines show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.surroundings import sysfs

LAPTOP = {
    "class/power_supply/AC/type": "Mains",
    "class/power_supply/AC/online": "1",
    "class/power_supply/BAT0/type": "Battery",
    "class/power_supply/BAT0/present": "1",
    "class/power_supply/BAT0/status": "Charging",
    "class/power_supply/BAT0/energy_now": "30000000",
    "class/power_supply/BAT0/energy_full": "40000000",
    "class/power_supply/BAT0/capacity": "74",
}
UNPLUGGED = {**LAPTOP, "class/power_supply/AC/online": "0", "class/power_supply/BAT0/status": "Discharging"}
MOUSE = {
    "class/power_supply/hidpp_battery_0/type": "Battery",
    "class/power_supply/hidpp_battery_0/scope": "Device",
    "class/power_supply/hidpp_battery_0/status": "Discharging",
    "class/power_supply/hidpp_battery_0/capacity": "5",
}
USB_LAPTOP = {
    "class/power_supply/ucsi/type": "USB",
    "class/power_supply/ucsi/online": "1",
    "class/power_supply/BAT0/type": "Battery",
    "class/power_supply/BAT0/status": "Unknown",
    "class/power_supply/BAT0/capacity": "61",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    (root / "class/power_supply").mkdir(parents=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "plugged_in", "percent"),
    [
        (LAPTOP, True, 75.0),
        (UNPLUGGED, False, 75.0),
        ({**UNPLUGGED, **MOUSE}, False, 75.0),
        (MOUSE, True, None),
        ({}, True, None),
        ({"class/dmi/id/chassis_type": "3"}, True, None),
        ({"class/dmi/id/chassis_type": "10"}, None, None),
        (USB_LAPTOP, True, 61.0),
        ({**USB_LAPTOP, "class/power_supply/ucsi/online": "0"}, None, 61.0),
        ({**USB_LAPTOP, "class/power_supply/BAT0/status": "Discharging"}, False, 61.0),
        ({**LAPTOP, "class/power_supply/BAT0/present": "0"}, True, None),
        (
            {**LAPTOP, "class/power_supply/AC/online": "0", "class/power_supply/BAT0/status": "Full"},
            True,
            75.0,
        ),
        # a second battery that tells in other units: percents are what they have in common
        (
            {
                **LAPTOP,
                "class/power_supply/BAT1/type": "Battery",
                "class/power_supply/BAT1/charge_now": "1",
                "class/power_supply/BAT1/charge_full": "2",
                "class/power_supply/BAT1/capacity": "50",
            },
            True,
            62.0,
        ),
        # one that tells in the same units counts by its size
        (
            {
                **LAPTOP,
                "class/power_supply/BAT1/type": "Battery",
                "class/power_supply/BAT1/energy_now": "0",
                "class/power_supply/BAT1/energy_full": "20000000",
            },
            True,
            50.0,
        ),
        ({**LAPTOP, "class/power_supply/BAT0/energy_now": "41000000"}, True, 100.0),
        ({**LAPTOP, "class/power_supply/BAT0/energy_full": "nonsense"}, True, 74.0),
    ],
)
def test_mains_and_batteries(
    tmp_path: Path, files: dict[str, str], plugged_in: bool | None, percent: float | None
) -> None:
    root = tree(tmp_path, files)
    assert sysfs.on_ac(root) is plugged_in
    assert sysfs.battery_percent(root) == percent


def test_no_tree_tells_nothing(tmp_path: Path) -> None:
    root = tmp_path / "none"
    assert sysfs.on_ac(root) is None
    assert sysfs.battery_percent(root) is None
    assert sysfs.cpu_temperature_c(root) is None
    assert sysfs.low_power_profile(root) is None


@pytest.mark.parametrize(
    ("files", "celsius"),
    [
        ({"class/hwmon/hwmon0/name": "coretemp", "class/hwmon/hwmon0/temp1_input": "71000"}, 71.0),
        ({"class/hwmon/hwmon0/name": "nvme", "class/hwmon/hwmon0/temp1_input": "99000"}, None),
        (
            {
                "class/hwmon/hwmon0/name": "k10temp",
                "class/hwmon/hwmon0/temp1_input": "97000",
                "class/hwmon/hwmon0/temp1_label": "Tctl",
                "class/hwmon/hwmon0/temp2_input": "70000",
                "class/hwmon/hwmon0/temp2_label": "Tdie",
            },
            70.0,
        ),
        (
            {
                "class/hwmon/hwmon0/name": "k10temp",
                "class/hwmon/hwmon0/temp1_input": "66000",
                "class/hwmon/hwmon0/temp1_label": "Tctl",
            },
            66.0,
        ),
        (
            {"class/thermal/thermal_zone0/type": "x86_pkg_temp", "class/thermal/thermal_zone0/temp": "55500"},
            55.5,
        ),
        ({"class/thermal/thermal_zone0/type": "cpu-thermal", "class/thermal/thermal_zone0/temp": "0"}, None),
        ({"class/thermal/thermal_zone0/type": "battery", "class/thermal/thermal_zone0/temp": "60000"}, None),
        (
            {
                "class/hwmon/hwmon0/name": "coretemp",
                "class/hwmon/hwmon0/temp1_input": "71000",
                "class/hwmon/hwmon0/temp2_input": "88000",
                "class/hwmon/hwmon0/temp3_input": "4294967000",
            },
            88.0,
        ),
    ],
)
def test_only_the_processors_own_heat_counts(
    tmp_path: Path, files: dict[str, str], celsius: float | None
) -> None:
    assert sysfs.cpu_temperature_c(tree(tmp_path, files)) == celsius


@pytest.mark.parametrize(("profile", "saving"), [("low-power", True), ("balanced", False), ("quiet", False)])
def test_the_firmwares_profile(tmp_path: Path, profile: str, saving: bool) -> None:
    assert sysfs.low_power_profile(tree(tmp_path, {"firmware/acpi/platform_profile": profile})) is saving
