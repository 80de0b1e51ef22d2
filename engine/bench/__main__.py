"""Entry point of the benchmark: `python -m engine.bench`, which `hearth bench engine` starts.

Runs in: a process of its own.
"""

from __future__ import annotations

import sys

from engine.bench.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
