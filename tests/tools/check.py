"""Runs all gates in one go and says which of them failed; a gate's own output is shown only if it failed."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent

GATES = {
    "style": [BIN / "ruff", "check", "--quiet", "."],
    "format": [BIN / "ruff", "format", "--check", "--quiet", "."],
    "types": [BIN / "mypy", "--no-error-summary"],
    "imports": [BIN / "lint-imports", "--no-logo"],
    "house": [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/packaging/test_house.py"],
}


def passes(name: str, command: list[str | Path]) -> bool:
    """Run one gate and print how it went."""
    started = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = "ok" if done.returncode == 0 else "FAILED"
    print(f"  {name:8} {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
    if done.returncode != 0:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def main() -> int:
    """Run every gate, also after one has failed."""
    print("Gates:", flush=True)
    results = [passes(name, command) for name, command in GATES.items()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
