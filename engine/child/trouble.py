"""An unexpected exception in the child: one line for the log, without the user's text, and an error for the caller."""

from __future__ import annotations

import sys
import traceback

from engine.errors import EngineError


def describe_bug(error: Exception) -> EngineError:
    """Log only the kind and the place: the message of an exception could hold the user's text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    sys.stderr.write(f"engine: {type(error).__name__} in {place}\n")
    sys.stderr.flush()
    return EngineError("The engine could not finish this request; see the engine log.")
