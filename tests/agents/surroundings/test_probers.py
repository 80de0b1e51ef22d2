"""Every prober keeps the same promise: it tells what its system tells, says None for the rest, and never raises."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.surroundings.core import BlindProber, Prober, Surroundings
from agents.surroundings.in_thread import LookThread
from agents.surroundings.linux import LinuxProber
from agents.surroundings.macos import MacProber, run_tool
from agents.surroundings.windows import PowerStatus, WindowsProber
from tests.agents.surroundings.buses import FakeLogind, Network, Profiles, leave, serve
from tests.agents.surroundings.test_sysfs import UNPLUGGED, tree

NOW_S = 1_800_000_000.0


class FakeWindows:
    def __init__(
        self, power: PowerStatus | None, last_input_ms: int | None, state: int | None, tick_ms: int = 0
    ) -> None:
        self._answers = (power, last_input_ms, state, tick_ms)

    def power_status(self) -> PowerStatus | None:
        return self._answers[0]

    def last_input_ms(self) -> int | None:
        return self._answers[1]

    def notification_state(self) -> int | None:
        return self._answers[2]

    def tick_ms(self) -> int:
        return self._answers[3]


async def no_tool(argv: Sequence[str]) -> str | None:
    return None


@pytest.mark.parametrize("system", ["blind", "linux", "windows", "macos"])
async def test_a_system_that_tells_nothing_is_told_as_nothing(system: str, tmp_path: Path) -> None:
    probers: dict[str, Prober] = {
        "blind": BlindProber(),
        "linux": LinuxProber(root=tmp_path / "none", address=f"unix:path={tmp_path}/no-bus"),
        "windows": WindowsProber(FakeWindows(None, None, None)),
        "macos": MacProber(no_tool),
    }
    prober = probers[system]
    try:
        assert await prober.look() == Surroundings()
        assert await prober.look() == Surroundings()
    finally:
        await prober.close()


# -- Linux ------------------------------------------------------------------------------------------------


async def test_linux_tells_what_its_services_tell(
    logind: FakeLogind, bus_address: str, tmp_path: Path
) -> None:
    logind.manager.idle, logind.manager.idle_since_us = True, int((NOW_S - 700) * 1e6)
    logind.session.locked = True
    profiles, network = Profiles("net.hadess.PowerProfiles"), Network()
    profiles.profile, network.metered = "power-saver", 3
    services = [
        await serve(bus_address, "net.hadess.PowerProfiles", "/net/hadess/PowerProfiles", profiles),
        await serve(
            bus_address, "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", network
        ),
    ]
    prober = LinuxProber(root=tree(tmp_path / "sys", UNPLUGGED), address=bus_address, wall_s=lambda: NOW_S)
    try:
        assert await prober.look() == Surroundings(
            on_ac=False, battery_percent=75.0, saver=True, idle_s=700.0, locked=True, metered=True
        )
        logind.manager.idle, logind.session.locked = False, False
        profiles.profile, network.metered = "performance", 4
        seen = await prober.look()
        assert (seen.idle_s, seen.locked, seen.saver, seen.metered) == (0.0, False, False, False)
    finally:
        await prober.close()
        for bus in services:
            await leave(bus)


async def test_linux_asks_the_newer_name_of_power_profiles_first(bus_address: str, tmp_path: Path) -> None:
    newer, older = Profiles("org.freedesktop.UPower.PowerProfiles"), Profiles("net.hadess.PowerProfiles")
    newer.profile = "power-saver"
    services = [
        await serve(
            bus_address,
            "org.freedesktop.UPower.PowerProfiles",
            "/org/freedesktop/UPower/PowerProfiles",
            newer,
        ),
        await serve(bus_address, "net.hadess.PowerProfiles", "/net/hadess/PowerProfiles", older),
    ]
    prober = LinuxProber(root=tmp_path, address=bus_address)
    try:
        assert (await prober.look()).saver is True
    finally:
        await prober.close()
        for bus in services:
            await leave(bus)


async def test_linux_without_any_session_is_idle_since_its_start(
    logind: FakeLogind, bus_address: str, tmp_path: Path
) -> None:
    logind.manager.idle, logind.manager.idle_since_us = True, 0
    prober = LinuxProber(root=tmp_path, address=bus_address, since_boot_s=lambda: 4321.0)
    try:
        assert (await prober.look()).idle_s == 4321.0
    finally:
        await prober.close()


async def test_linux_goes_on_with_files_when_the_bus_dies(
    logind: FakeLogind, bus_address: str, tmp_path: Path
) -> None:
    prober = LinuxProber(root=tree(tmp_path / "sys", UNPLUGGED), address=bus_address)
    try:
        assert (await prober.look()).locked is False
        await logind.stop()
        seen = await prober.look()
        assert (seen.locked, seen.idle_s, seen.on_ac) == (None, None, False)
    finally:
        await prober.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the real system")
async def test_a_look_at_the_real_system_succeeds() -> None:
    prober = LinuxProber()
    try:
        seen = await prober.look()
        assert seen.battery_percent is None or 0 <= seen.battery_percent <= 100
        assert seen.temperature_c is None or 0 < seen.temperature_c < 150
    finally:
        await prober.close()


# -- a look that hangs ------------------------------------------------------------------------------------


async def test_a_look_that_hangs_is_not_waited_for_and_not_piled_up() -> None:
    thread = LookThread(limit_s=0.05)
    begun = []

    def slow() -> str:
        begun.append(1)
        time.sleep(0.3)
        return "late"

    try:
        assert await thread.run(slow, "unknown") == "unknown"
        assert await thread.run(slow, "unknown") == "unknown"
        assert len(begun) == 1
        await asyncio.sleep(0.35)
        assert await thread.run(lambda: "there", "unknown") == "there"
    finally:
        thread.close()


async def test_a_look_that_fails_is_an_unknown(caplog: pytest.LogCaptureFixture) -> None:
    thread = LookThread()

    def broken() -> str:
        raise RuntimeError("a driver's bug")

    try:
        assert await thread.run(broken, "unknown") == "unknown"
    finally:
        thread.close()
    assert "a look at the system failed" in caplog.text


# -- Windows ----------------------------------------------------------------------------------------------


def power(ac_line: int = 1, battery_flag: int = 1, percent: int = 80, saver: int = 0) -> PowerStatus:
    return PowerStatus(ac_line=ac_line, battery_flag=battery_flag, percent=percent, saver=saver)


@pytest.mark.parametrize(
    ("status", "on_ac", "percent", "saver"),
    [
        (power(), True, 80.0, False),
        (power(ac_line=0, percent=19, saver=1), False, 19.0, True),
        (power(ac_line=255), None, 80.0, False),
        (power(battery_flag=128, percent=255), True, None, False),
        (power(battery_flag=255, percent=255, ac_line=255), None, None, False),
        (power(battery_flag=255, percent=55, ac_line=0), False, 55.0, False),
    ],
)
async def test_windows_power(
    status: PowerStatus, on_ac: bool | None, percent: float | None, saver: bool
) -> None:
    seen = await WindowsProber(FakeWindows(status, None, None)).look()
    assert (seen.on_ac, seen.battery_percent, seen.saver) == (on_ac, percent, saver)


@pytest.mark.parametrize(
    ("last_input_ms", "tick_ms", "idle_s"),
    [(1_000, 61_000, 60.0), (2**32 - 1_000, 1_000, 2.0), (5_000, 5_000, 0.0)],
)
async def test_windows_idle_time_over_the_wrap_of_its_count(
    last_input_ms: int, tick_ms: int, idle_s: float
) -> None:
    assert (await WindowsProber(FakeWindows(None, last_input_ms, None, tick_ms)).look()).idle_s == idle_s


@pytest.mark.parametrize(
    ("state", "full_screen", "locked"),
    [
        (1, False, True),
        (2, True, None),
        (3, True, None),
        (4, True, None),
        (5, False, None),
        (None, None, None),
    ],
)
async def test_windows_full_screen(state: int | None, full_screen: bool | None, locked: bool | None) -> None:
    seen = await WindowsProber(FakeWindows(None, None, state)).look()
    assert (seen.full_screen, seen.locked) == (full_screen, locked)


# -- macOS ------------------------------------------------------------------------------------------------

ON_BATTERY = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=4653155)\t46%; discharging; 3:12 remaining present: true
"""
PLUGGED_IN = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=4653155)\t100%; charged; 0:00 remaining present: true
"""
DESKTOP = "Now drawing from 'AC Power'\n"
SAVING = "System-wide power settings:\nCurrently in use:\n lowpowermode         1\n sleep                1\n"
INPUT = '    | |   "HIDIdleTime" = 12500000000\n    | |   "HIDIdleTime" = 99500000000\n'


@pytest.mark.parametrize(
    ("battery", "settings", "last_input", "expected"),
    [
        (ON_BATTERY, SAVING, INPUT, Surroundings(on_ac=False, battery_percent=46.0, saver=True, idle_s=12.5)),
        (PLUGGED_IN, " lowpowermode 0\n", None, Surroundings(on_ac=True, battery_percent=100.0, saver=False)),
        (DESKTOP, "", "", Surroundings(on_ac=True)),
        ("garbage", "garbage", "garbage", Surroundings()),
    ],
)
async def test_macos_tools(
    battery: str, settings: str, last_input: str | None, expected: Surroundings
) -> None:
    async def tool(argv: Sequence[str]) -> str | None:
        if argv[-1] == "batt":
            return battery
        return settings if argv[0].endswith("pmset") else last_input

    assert await MacProber(tool).look() == expected


async def test_a_tool_that_is_missing_fails_or_hangs_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.surroundings.macos.TOOL_LIMIT_S", 0.2)
    assert await run_tool(["/nowhere/pmset"]) is None
    assert await run_tool([sys.executable, "-c", "print('x'); raise SystemExit(3)"]) is None
    assert await run_tool([sys.executable, "-c", "import time; time.sleep(60)"]) is None


async def test_a_tool_that_works_is_heard() -> None:
    assert await run_tool([sys.executable, "-c", "print('hello')"]) == "hello\n"
