"""The energy that the machine says it has used, where it says so; a meter that can't be read is absent, never zero."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
POWER_SUPPLY = Path("/sys/class/power_supply")
_JOULES_PER_MICROWATTHOUR = 0.0036


@dataclass(frozen=True, kw_only=True)
class EnergyReading:
    """Joules by meter: `used` only grows (until its counter wraps or the machine restarts), `stored` is a level."""

    used: dict[str, float]
    stored: dict[str, float]


class EnergyMeters:
    """Reads the processor's meters (RAPL), NVIDIA's cards and batteries. Blocking, some milliseconds."""

    def __init__(self, *, powercap: Path = POWERCAP, power_supply: Path = POWER_SUPPLY) -> None:
        self._powercap = powercap
        self._power_supply = power_supply
        self._last: dict[str, tuple[int, int]] = {}  # a zone's last raw value, and what its wraps add up to

    def read(self) -> EnergyReading:
        """All meters that answer now."""
        return EnergyReading(used={**self._rapl(), **_nvidia()}, stored=self._batteries())

    def _rapl(self) -> dict[str, float]:
        """Packages alone: their inner zones are part of them. Most systems let only root read it."""
        used = {}
        for zone in sorted(self._powercap.glob("intel-rapl:*")):
            if zone.name.count(":") != 1:
                continue
            with suppress(OSError, ValueError):
                micro = self._unwrapped(zone)
                name = (zone / "name").read_text().strip()
                used[f"{name} ({zone.name})"] = micro / 1e6
        return used

    def _unwrapped(self, zone: Path) -> int:
        """The counter goes on where the hardware's begins anew; it can wrap once unseen between two readings at most."""
        raw = int((zone / "energy_uj").read_text())
        last, wrapped = self._last.get(zone.name, (raw, 0))
        if raw < last:
            wrapped += int((zone / "max_energy_range_uj").read_text())
        self._last[zone.name] = (raw, wrapped)
        return raw + wrapped

    def _batteries(self) -> dict[str, float]:
        stored = {}
        for battery in sorted(self._power_supply.glob("BAT*")):
            with suppress(OSError, ValueError):
                stored[battery.name] = int((battery / "energy_now").read_text()) * _JOULES_PER_MICROWATTHOUR
        return stored


def _nvidia() -> dict[str, float]:
    """Since the driver was loaded; nothing without the optional library, a driver, or a card that counts."""
    try:
        import pynvml
    except ImportError:
        return {}
    used = {}
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                with suppress(pynvml.NVMLError):
                    card = pynvml.nvmlDeviceGetHandleByIndex(index)
                    used[f"gpu{index}"] = pynvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1000
        finally:
            pynvml.nvmlShutdown()
    return used
