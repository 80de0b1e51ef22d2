"""What tests of the clients share: homes whose socket paths are short enough."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder with a short path: pytest's own ones are too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="hearth-t-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)
