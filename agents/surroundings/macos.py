"""What macOS tells through its own tools: pmset for power, ioreg for the last input.

Runs in: the runtime's event loop; each tool is a short child process.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence

from agents.surroundings.core import Surroundings

TOOL_LIMIT_S = 3.0
_BATTERY = ("/usr/bin/pmset", "-g", "batt")
_SETTINGS = ("/usr/bin/pmset", "-g")
_INPUT = ("/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4", "-r", "-k", "HIDIdleTime")

Tool = Callable[[Sequence[str]], Awaitable[str | None]]


async def run_tool(argv: Sequence[str]) -> str | None:
    """What the tool prints; None when it is not there, fails or takes too long. It is ended with its caller."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(TOOL_LIMIT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return output.decode("utf-8", "replace") if process.returncode == 0 else None


class MacProber:
    """Temperature, full screen and metering are told by no tool that comes with the system."""

    def __init__(self, tool: Tool = run_tool) -> None:
        self._tool = tool

    async def look(self) -> Surroundings:
        battery, settings, last_input = await asyncio.gather(
            self._tool(_BATTERY), self._tool(_SETTINGS), self._tool(_INPUT)
        )
        return Surroundings(
            on_ac=on_ac_of(battery or ""),
            battery_percent=percent_of(battery or ""),
            saver=saver_of(settings or ""),
            idle_s=idle_s_of(last_input or ""),
        )

    async def close(self) -> None:
        return None


def on_ac_of(text: str) -> bool | None:
    """From "Now drawing from 'AC Power'"."""
    source = re.search(r"Now drawing from '([^']+)'", text)
    return None if source is None else source[1] != "Battery Power"


def percent_of(text: str) -> float | None:
    """The mean of the internal batteries' "85%;"; a UPS is another thing."""
    found = [float(percent) for percent in re.findall(r"InternalBattery.*?\t\s*(\d{1,3})%", text)]
    return sum(found) / len(found) if found else None


def saver_of(text: str) -> bool | None:
    """From the line "lowpowermode 1"."""
    mode = re.search(r"^\s*lowpowermode\s+(\d)", text, re.MULTILINE)
    return None if mode is None else mode[1] == "1"


def idle_s_of(text: str) -> float | None:
    """From "HIDIdleTime" = nanoseconds."""
    found = [int(number) for number in re.findall(r'"HIDIdleTime"\s*=\s*(\d+)', text)]
    return min(found) / 1e9 if found else None
