"""Opens the desktop: Qt is loaded here and nowhere else in the command line."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.cli.output import complain, say
from app.desktop.display import display_problem


def open_desktop(context: click.Context, home: Path, *, background: bool) -> int:
    problem = display_problem(os.environ)
    if problem is not None:
        say(context.get_help())
        complain(problem)
        return 2
    try:
        from app.desktop.main import run
    except ImportError as error:
        complain(f"The desktop can't be loaded ({error}); `hearth doctor` says what is missing.")
        return 1
    return run(home, background=background)
