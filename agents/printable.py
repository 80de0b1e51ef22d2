"""Paths as text that a sentence, JSON and a terminal can carry."""

from __future__ import annotations

import re
from pathlib import Path

_NO_TEXT = re.compile("[\ud800-\udfff]")  # how Python carries the bytes of a name that are no UTF-8


def printable(path: Path) -> str:
    """A path in full; what is no text in it shows as the replacement character."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", str(path))


def printable_name(path: Path) -> str:
    """A path's last part, likewise."""
    return printable(Path(path.name or path))
