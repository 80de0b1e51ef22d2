"""Sets a checkout of Hearth up: `python3 packaging/bootstrap.py [--tests]`; `make run` and `make test` call it.

Runs in: any Python 3.8 or newer, which then hands over to the one that Hearth's environment is made from.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from steps.pythons import NEWEST, OLDEST, NoPython, choose


def main() -> int:
    """Parse the arguments, make sure that this is a Python that the set-up can run on, and set up."""
    parser = argparse.ArgumentParser(description="Set this checkout of Hearth up.")
    parser.add_argument(
        "--tests", action="store_true", help="also what the tests need: a virtual screen and a bus"
    )
    arguments = parser.parse_args()
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        _hand_over()
    from steps.sequence import set_up

    signal.signal(signal.SIGTERM, _interrupt)
    root = Path(__file__).resolve().parent.parent
    return set_up(root, for_tests=arguments.tests, wanted_python=os.environ.get("PYTHON") or None)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _hand_over() -> NoReturn:
    try:
        python = choose(os.environ.get("PYTHON"))
    except NoPython as trouble:
        sys.exit(str(trouble))
    os.execv(python.path, [python.path, *sys.argv])  # noqa: S606 (the same program, in a Python that fits)


if __name__ == "__main__":
    raise SystemExit(main())
