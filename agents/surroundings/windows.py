"""What Windows tells: power status, the last input and whether a program fills the screen. Calls return at once.

Runs in: the runtime's event loop.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Protocol

from agents.surroundings.core import Surroundings

_UNKNOWN = 255
_NO_BATTERY = 128
_FULL_SCREEN_STATES = frozenset({2, 3, 4})  # QUNS_BUSY, QUNS_RUNNING_D3D_FULL_SCREEN, QUNS_PRESENTATION_MODE
_NOT_PRESENT = 1  # QUNS_NOT_PRESENT: a screen saver runs, or the computer is locked
_WRAP_MS = 2**32


@dataclass(frozen=True, kw_only=True)
class PowerStatus:
    """SYSTEM_POWER_STATUS as the system fills it."""

    ac_line: int  # 0 off, 1 on, 255 unknown
    battery_flag: int
    percent: int  # 255 unknown
    saver: int  # 1 on


class WindowsCalls(Protocol):
    """The calls that are made; None where one fails."""

    def power_status(self) -> PowerStatus | None: ...

    def last_input_ms(self) -> int | None:
        """On the 32-bit count of milliseconds."""
        ...

    def tick_ms(self) -> int:
        """That count now."""
        ...

    def notification_state(self) -> int | None: ...


class WindowsProber:
    """Temperature and metering are not told without a service of their own."""

    def __init__(self, calls: WindowsCalls | None = None) -> None:
        self._calls = calls or SystemCalls()

    async def look(self) -> Surroundings:
        power = self._calls.power_status()
        last_input_ms = self._calls.last_input_ms()
        state = self._calls.notification_state()
        return Surroundings(
            on_ac=None if power is None else _on_ac(power),
            battery_percent=None if power is None else _percent(power),
            saver=None if power is None else power.saver == 1,
            idle_s=None
            if last_input_ms is None
            else ((self._calls.tick_ms() - last_input_ms) % _WRAP_MS) / 1000,
            full_screen=None if state is None else state in _FULL_SCREEN_STATES,
            locked=True if state == _NOT_PRESENT else None,
        )

    async def close(self) -> None:
        return None


def _on_ac(power: PowerStatus) -> bool | None:
    if power.battery_flag != _UNKNOWN and power.battery_flag & _NO_BATTERY:
        return True
    return None if power.ac_line == _UNKNOWN else power.ac_line == 1


def _percent(power: PowerStatus) -> float | None:
    if power.battery_flag != _UNKNOWN and power.battery_flag & _NO_BATTERY:
        return None
    return None if power.percent > 100 else float(power.percent)


class _SystemPowerStatus(ctypes.Structure):
    _fields_ = (
        ("ACLineStatus", ctypes.c_ubyte),
        ("BatteryFlag", ctypes.c_ubyte),
        ("BatteryLifePercent", ctypes.c_ubyte),
        ("SystemStatusFlag", ctypes.c_ubyte),
        ("BatteryLifeTime", ctypes.c_uint32),
        ("BatteryFullLifeTime", ctypes.c_uint32),
    )


class _LastInputInfo(ctypes.Structure):
    _fields_ = (("cbSize", ctypes.c_uint), ("dwTime", ctypes.c_uint32))


class SystemCalls:
    """The real ones, through ctypes."""

    def __init__(self) -> None:
        self._kernel = ctypes.CDLL("kernel32")
        self._user = ctypes.CDLL("user32")
        self._shell = ctypes.CDLL("shell32")
        self._kernel.GetTickCount.restype = ctypes.c_uint32

    def power_status(self) -> PowerStatus | None:
        status = _SystemPowerStatus()
        if not self._kernel.GetSystemPowerStatus(ctypes.byref(status)):
            return None
        return PowerStatus(
            ac_line=status.ACLineStatus,
            battery_flag=status.BatteryFlag,
            percent=status.BatteryLifePercent,
            saver=status.SystemStatusFlag,
        )

    def last_input_ms(self) -> int | None:
        info = _LastInputInfo(cbSize=ctypes.sizeof(_LastInputInfo))
        return int(info.dwTime) if self._user.GetLastInputInfo(ctypes.byref(info)) else None

    def tick_ms(self) -> int:
        return int(self._kernel.GetTickCount())

    def notification_state(self) -> int | None:
        state = ctypes.c_int()
        return state.value if self._shell.SHQueryUserNotificationState(ctypes.byref(state)) == 0 else None
