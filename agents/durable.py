"""Makes the names in a folder as durable as the files that they name."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Returns once the folder's entries are on the disk: a rename is not, only because the renamed file is. Raises OSError."""
    if os.name != "posix":
        return  # a folder can't be opened there, and a rename needs no such help
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
