"""The runtime's log: rotated, private to its owner, and free of the user's text.

Records hold ids, counts, states and error classes. File names, prompts, answers and document text never go in: an exception's text may
quote them, so only its type and its place in our own code are written.
"""

from __future__ import annotations

import logging
import os
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_SIZE_BYTES = 1_000_000
LOG_FILES = 5


class _PrivateFormatter(logging.Formatter):
    """Writes an exception as its type and the lines of code it passed, without its text."""

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        kind, _, trace = ei if isinstance(ei, tuple) else (None, None, None)
        frames = traceback.extract_tb(trace)
        places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
        return f"{kind.__name__ if kind else 'error'} at {places}"


class _PrivateFileHandler(RotatingFileHandler):
    """A rotating file that only its owner can read."""

    def _open(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


def open_log(path: Path) -> logging.Handler:
    """Sends the runtime's and the engine client's records to `path`; returns the handler for `close_log`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _PrivateFileHandler(path, maxBytes=LOG_SIZE_BYTES, backupCount=LOG_FILES - 1)
    handler.setFormatter(_PrivateFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("agents", "engine"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    return handler


def close_log(handler: logging.Handler) -> None:
    """Takes the handler off again and closes its file."""
    for name in ("agents", "engine"):
        logging.getLogger(name).removeHandler(handler)
    handler.close()
