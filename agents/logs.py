"""The runtime's log: rotated, private to its owner, and free of the user's text.

Records hold ids, counts, states and error classes. File names, prompts, answers and document text never go in: an exception's text may
quote them, so only its type and its place in the code are written. Libraries are not that careful with their own messages; of those only
the words that stand in the library's source are written.
"""

from __future__ import annotations

import copy
import logging
import os
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_SIZE_BYTES = 1_000_000
LOG_FILES = 5
OUR_LOGGERS = ("agents", "engine")
# How messages begin that libraries put together before they log them; what follows may hold anything.
HARMLESS_BEGINNINGS = (
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Task was destroyed but it is pending!",
    "Exception in callback",
    "Exception in ASGI application",
    "Unhandled exception",
    "unhandled exception",
)


class _PrivateFormatter(logging.Formatter):
    """Writes an exception as its type and the lines of code it passed, and of a library's message only the fixed words."""

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        record.exc_text = None  # another handler may have left the exception's text there
        if record.name.partition(".")[0] not in OUR_LOGGERS:
            record.msg = f"{_fixed_words(record)} ({record.filename}:{record.lineno})".lstrip()
            record.args = ()
        return super().format(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        error = ei[1] if isinstance(ei, tuple) else None
        return _places(error) if error is not None else "error"


def _places(error: BaseException) -> str:
    """The type and the places of an error, and those of the errors that it was raised from or that it gathers."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    text = f"{type(error).__name__} at " + " < ".join(
        f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames
    )
    if error.__cause__ is not None:
        text += f"; from {_places(error.__cause__)}"
    for inner in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        text += f"; holds {_places(inner)}"
    return text


def _fixed_words(record: logging.LogRecord) -> str:
    """The part of a message that the library's authors wrote: with arguments its template, else a known beginning."""
    template = record.msg if isinstance(record.msg, str) else ""
    if record.args:
        return template
    return next((words for words in HARMLESS_BEGINNINGS if template.startswith(words)), "")


class _PrivateFileHandler(RotatingFileHandler):
    """A rotating file that only its owner can read. While it is installed, no record reaches stderr."""

    def install(self) -> None:
        self._levels = {name: logging.getLogger(name).level for name in ("", *OUR_LOGGERS)}
        self._last_resort = logging.lastResort
        for name in self._levels:
            logging.getLogger(name).setLevel(logging.INFO if name else logging.WARNING)
        logging.getLogger().addHandler(self)
        logging.lastResort = None  # it would write exceptions with their texts to stderr
        logging.captureWarnings(True)  # Python would print those of libraries, with the paths in them

    def uninstall(self) -> None:
        logging.lastResort = self._last_resort
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A full disk costs the record; logging's own way is a traceback with the message on stderr."""

    def _open(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


def open_log(path: Path) -> _PrivateFileHandler:
    """Sends every record of this process to `path`, ours from INFO on; returns the handler for `close_log`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _PrivateFileHandler(path, maxBytes=LOG_SIZE_BYTES, backupCount=LOG_FILES - 1)
    handler.setFormatter(_PrivateFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.install()
    return handler


def close_log(handler: _PrivateFileHandler) -> None:
    """Takes the handler off again, makes logging as it was before, and closes the file."""
    handler.uninstall()
    handler.close()
