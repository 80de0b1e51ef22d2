"""Chooses the Python that Hearth's environment is made from.

Runs in: any Python 3.8 or newer, so that an old one can still say in a sentence what is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

OLDEST = (3, 11)
NEWEST = (3, 13)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3")

_PROBE = (
    "import importlib.util as u, json, sys\n"
    "print(json.dumps([sys.executable, list(sys.version_info[:3]),"
    " bool(u.find_spec('venv') and u.find_spec('ensurepip'))]))"
)


class NoPython(Exception):
    """No Python fits; the text says what to do."""


class Interpreter(NamedTuple):
    """A Python on this machine, as it describes itself."""

    path: str
    version: tuple[int, int, int]
    has_venv: bool

    @property
    def fits(self) -> bool:
        """Whether Hearth supports this version."""
        return OLDEST <= self.version[:2] <= NEWEST

    @property
    def short(self) -> str:
        """The version as a person says it, for example 3.11."""
        return f"{self.version[0]}.{self.version[1]}"


def probe(command: str) -> Interpreter | None:
    """Ask the Python named `command` what it is; None if there is none or it does not run."""
    found = shutil.which(command)
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, "-I", "-c", _PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=True,
        )
        path, version, has_venv = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(os.path.realpath(path), (version[0], version[1], version[2]), has_venv)


def choose(
    wanted: str | None,
    ask: Callable[[str], Interpreter | None] = probe,
    candidates: Sequence[str] = CANDIDATES,
) -> Interpreter:
    """The Python to use: `wanted` if named, else the newest that fits; one that can make environments comes first.

    The answer may still lack `venv`: then the system package for it has to be installed.
    Raises NoPython with one sentence.
    """
    if wanted:
        named = ask(wanted)
        if named is None:
            raise NoPython(f"PYTHON={wanted} does not run: name a Python 3.11, 3.12 or 3.13.")
        if not named.fits:
            raise NoPython(f"PYTHON={wanted} is Python {named.short}: Hearth needs 3.11, 3.12 or 3.13.")
        return named
    known = [found for found in map(ask, candidates) if found is not None]
    fitting = [found for found in known if found.fits]
    if not fitting:
        raise NoPython(_nothing_fits(known))
    return max(fitting, key=lambda found: (found.has_venv, found.version))


def _nothing_fits(known: list[Interpreter]) -> str:
    if not known:
        return "No Python was found: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=/path/to/python3."
    seen = ", ".join(sorted({found.short for found in known}))
    return (
        f"Hearth needs Python 3.11, 3.12 or 3.13, and only {seen} was found: install one, "
        "or name it with PYTHON=/path/to/python3."
    )


def venv_package(python: Interpreter) -> str:
    """The Debian package that lets `python` make environments."""
    if re.match(r"^/usr/bin/python3(\.\d+)?$", python.path):
        return f"python{python.short}-venv"
    return "python3-venv"
