"""Fixtures of the desktop's tests."""

from tests.app.desktop.desk import (
    asker,
    home,
    leaves_nothing_in_qt,
    link,
    make_link,
    make_shell,
    notes,
    runtime,
    theme,
)

__all__ = [
    "asker",
    "home",
    "leaves_nothing_in_qt",
    "link",
    "make_link",
    "make_shell",
    "notes",
    "runtime",
    "theme",
]
