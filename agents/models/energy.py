"""The energy that the machine says it has used, where it says so; a meter that can't be read is absent, never zero."""

from __future__ import annotations

import asyncio
import threading
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
        self._reading = threading.Lock()

    def read(self) -> EnergyReading:
        """All meters that answer now."""
        with self._reading:
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


def joules_between(before: EnergyReading, after: EnergyReading) -> float | None:
    """What the machine used between two readings; None where no meter tells.

    Batteries speak only where nothing counts, and only while they empty: a full one on a charger says nothing.
    """
    counted = [after.used[meter] - joules for meter, joules in before.used.items() if meter in after.used]
    if counted:
        return max(0.0, sum(counted))
    emptied = [joules - after.stored[name] for name, joules in before.stored.items() if name in after.stored]
    return sum(emptied) if emptied and sum(emptied) > 0 else None


class EnergyCounter:
    """Asks the meters off the event loop; a machine without any is asked only once."""

    def __init__(self, meters: EnergyMeters) -> None:
        self._meters = meters
        self._mute = False

    async def read(self) -> EnergyReading | None:
        """What the meters say now; None where there are none."""
        if self._mute:
            return None
        reading = await asyncio.to_thread(self._meters.read)
        self._mute = not reading.used and not reading.stored
        return None if self._mute else reading

    async def since(self, before: EnergyReading | None) -> float | None:
        """Joules that the machine used since that reading; None where nothing tells."""
        after = None if before is None else await self.read()
        return None if before is None or after is None else joules_between(before, after)


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
