"""Entry point of the benchmark: `python -m agents.bench`, which `hearth bench scheduler` starts.

Runs in: a process of its own.
"""

from __future__ import annotations

import sys

from agents.bench.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
