"""Whether there is a screen to draw on: Qt ends the process without one, so it is asked before Qt is."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping

_LOCAL_DISPLAY = re.compile(r"^(?:unix)?:(\d+)(?:\.\d+)?$")


def display_problem(environment: Mapping[str, str]) -> str | None:
    """One sentence when no window can be shown, else None."""
    if not sys.platform.startswith("linux"):
        return None
    if environment.get("QT_QPA_PLATFORM", "") in ("offscreen", "minimal", "vnc") or environment.get(
        "WAYLAND_DISPLAY"
    ):
        return None
    display = environment.get("DISPLAY", "")
    if not display:
        return "There is no screen to show a window on; `hearth --help` lists what works in the terminal."
    local = _LOCAL_DISPLAY.match(display)
    if local and not _answers(f"/tmp/.X11-unix/X{local[1]}"):  # noqa: S108  where X keeps its sockets
        return f"The screen {display} does not answer; set DISPLAY to one that does."
    return None


def _answers(path: str) -> bool:
    for address in (path, "\0" + path):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2.0)
            try:
                client.connect(address)
            except OSError:
                continue
            return True
    return False
