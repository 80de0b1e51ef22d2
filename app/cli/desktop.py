"""Opens the desktop: Qt is loaded here and nowhere else in the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from app.cli.output import complain, say


def display_present() -> bool:
    """Whether a window can appear. Elsewhere than on X11 and Wayland there is always a screen."""
    if not sys.platform.startswith(("linux", "freebsd")):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def open_desktop(context: click.Context, home: Path, *, background: bool) -> int:
    if not display_present():
        say(context.get_help())
        complain(
            "There is no display here, so the desktop can't open; `hearth demo` shows Hearth in the terminal, and "
            "`hearth serve` runs it without a window."
        )
        return 2
    try:
        from app.desktop.main import run
    except ImportError as error:
        complain(f"The desktop can't be loaded ({error}); `hearth doctor` says what is missing.")
        return 1
    return run(home, background=background)
