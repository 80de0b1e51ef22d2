"""What Linux tells: /sys for power and heat, logind for the user, power profiles and NetworkManager where they run.

Runs in: the runtime's event loop, with a thread of its own for /sys.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.surroundings import sysfs
from agents.surroundings.bus import SystemBus
from agents.surroundings.core import Surroundings
from agents.surroundings.in_thread import LookThread

LOGIN = "org.freedesktop.login1"
_MANAGER = ("/org/freedesktop/login1", f"{LOGIN}.Manager")
_SESSION = ("/org/freedesktop/login1/session/auto", f"{LOGIN}.Session")
_PROFILES = (  # the newer name first
    ("org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"),
    ("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles"),
)
_NETWORK = "org.freedesktop.NetworkManager"
_METERED = {1: True, 2: False, 3: True, 4: False}  # yes, no, and NetworkManager's guesses; 0 is unknown


class LinuxProber:
    """`root` stands for /sys, `address` for the system bus."""

    def __init__(
        self,
        *,
        root: Path = sysfs.SYS,
        address: str | None = None,
        wall_s: Callable[[], float] = time.time,
        since_boot_s: Callable[[], float] | None = None,
    ) -> None:
        self._root = root
        self._wall_s = wall_s
        self._since_boot_s = since_boot_s or _since_boot_s
        self._bus = SystemBus(address=address)
        self._thread = LookThread()

    async def look(self) -> Surroundings:
        system = await self._thread.run(self._look_at_files, Surroundings())
        saver = await self._saver()
        return Surroundings(
            on_ac=system.on_ac,
            battery_percent=system.battery_percent,
            temperature_c=system.temperature_c,
            saver=system.saver if saver is None else saver,
            idle_s=await self._idle_s(),
            locked=_as_bool(await self._bus.read(LOGIN, *_SESSION, "LockedHint")),
            metered=await self._metered(),
        )

    async def close(self) -> None:
        self._thread.close()
        await self._bus.close()

    def _look_at_files(self) -> Surroundings:
        return Surroundings(
            on_ac=sysfs.on_ac(self._root),
            battery_percent=sysfs.battery_percent(self._root),
            temperature_c=sysfs.cpu_temperature_c(self._root),
            saver=sysfs.low_power_profile(self._root),
        )

    async def _saver(self) -> bool | None:
        for name, path in _PROFILES:
            profile = await self._bus.read(name, path, name, "ActiveProfile")
            if isinstance(profile, str):
                return profile == "power-saver"
        return None

    async def _idle_s(self) -> float | None:
        """Since when all sessions are idle, as their desktops tell logind; a lower bound, since they tell it late."""
        is_idle = _as_bool(await self._bus.read(LOGIN, *_MANAGER, "IdleHint"))
        if not is_idle:
            return None if is_idle is None else 0.0
        since_us = await self._bus.read(LOGIN, *_MANAGER, "IdleSinceHint")
        if not isinstance(since_us, int) or since_us == 0:  # nobody has been here since the computer started
            return self._since_boot_s()
        return max(0.0, self._wall_s() - since_us / 1e6)

    async def _metered(self) -> bool | None:
        value = await self._bus.read(_NETWORK, "/org/freedesktop/NetworkManager", _NETWORK, "Metered")
        return _METERED.get(value) if isinstance(value, int) else None


def _as_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
