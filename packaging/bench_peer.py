"""Builds llama-server to compare Hearth's engine with, and prints where it is; `make bench-peer` calls it.

Runs in: the project's environment, after the set-up.
"""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from steps.commands import Runner
from steps.engine_wheel import NAME, cache_root, make_recipe
from steps.failure import SetupFailed
from steps.lockfile import find_pin
from steps.peer_server import PeerBuilder

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """The path is the last line on stdout, after the progress; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    log = ROOT / ".cache" / "bench-peer.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("", encoding="utf-8")
    python = Path(sys.executable)
    builder = PeerBuilder(tools=python.parent, python=python, runner=Runner(log), cache=cache_root())
    try:
        pin = find_pin(ROOT / "packaging" / "requirements" / "engine.txt", NAME)
        program = builder.server(make_recipe(pin, ROOT / "packaging" / "engine_only.cmake"))
    except SetupFailed as trouble:
        print(trouble, file=sys.stderr)
        return trouble.exit_code
    except OSError as trouble:
        print(
            f"The peer could not be built: {trouble.strerror}. Mend that and run it again.", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    print(f"Compare with it: hearth bench engine --peer llama-server={program}", file=sys.stderr)
    print(program)
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
