"""How agents name a model: "built-in", or the full path of a GGUF file."""

from __future__ import annotations

from pathlib import Path

from agents.core import BUILT_IN_MODEL
from agents.errors import UsageProblem
from agents.printable import printable


def check_model(model: str) -> None:
    """A model that is not there is told now, not at the first run. Whether it can be loaded is the engine's to say. Reads the disk."""
    if model == BUILT_IN_MODEL or _is_file(Path(model)):
        return
    raise UsageProblem(f"There is no model file {printable(Path(model))}; correct the path or use built-in.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_absolute() and path.is_file()
    except OSError:  # a folder on the way that nobody may look into
        return False
