"""Starts the runtime in the background without holding the window.

Runs in: a worker thread waits for the runtime; the answer is delivered on the main thread.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from PySide6.QtCore import QObject, QTimer, Signal

from app.client import ClientError
from app.launch import LaunchFailed, LaunchOptions, ServedAlready, start_runtime

_POLL_MS = 50
_STOP_WITHIN_S = 20.0
USAGE_EXIT_CODE = 2
# What the runtime's sentences about a missing or wrong key name, and its others do not.
_KEY_WORDS = ("--key-file", "--passphrase", "passphrase is", "keyring", "key file")

Start = Callable[[Path, LaunchOptions, Callable[[], bool]], "subprocess.Popen[bytes] | None"]


@dataclass(frozen=True, kw_only=True)
class StartFailed:
    """Why no runtime came up, in its own sentence."""

    sentence: str
    needs_key: bool


def start_by_launching(
    home: Path, options: LaunchOptions, cancelled: Callable[[], bool]
) -> subprocess.Popen[bytes] | None:
    """The real thing; another runtime that answers is as good as one of our own (None). Raises ClientError."""
    try:
        return start_runtime(home, options, cancelled=cancelled)
    except ServedAlready:
        return None


def failure_of(error: ClientError, options: LaunchOptions) -> StartFailed:
    """Tells a missing or refused key from other trouble.

    Its remedies are for the terminal; in the window a dialog offers them, so only what is wrong is kept.
    """
    sentence = str(error)
    misses_key = isinstance(error, LaunchFailed) and error.exit_code == USAGE_EXIT_CODE
    refused = options != LaunchOptions() and "key" in sentence.lower()
    if refused or (misses_key and any(word in sentence for word in _KEY_WORDS)):
        return StartFailed(sentence=sentence.split(";", maxsplit=1)[0].rstrip(".") + ".", needs_key=True)
    return StartFailed(sentence=sentence, needs_key=False)


class RuntimeStarter(QObject):
    """One start at a time; `started` or `failed` follows each `start`."""

    started = Signal()
    failed = Signal(object)  # StartFailed

    def __init__(self, home: Path, start: Start = start_by_launching, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._home = home
        self._start = start
        self._answers: SimpleQueue[StartFailed | None] = SimpleQueue()
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # The answer is fetched rather than signalled: a Qt signal from a thread that outlives its sender aborts.
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL_MS)
        self._poll.timeout.connect(self._deliver)

    @property
    def is_busy(self) -> bool:
        return self._thread is not None

    def start(self, options: LaunchOptions) -> None:
        if self.is_busy or self._cancel.is_set():
            return
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # the one before has ended, and has now been waited for
        self._thread = threading.Thread(
            target=self._work, args=(options,), name="runtime-starter", daemon=True
        )
        self._thread.start()
        self._poll.start()

    def close(self) -> None:
        """Gives up a start that is under way."""
        self._cancel.set()
        self._poll.stop()
        if self._thread is not None:
            self._thread.join(_STOP_WITHIN_S)
            self._thread = None

    def _work(self, options: LaunchOptions) -> None:
        try:
            self._process = self._start(self._home, options, self._cancel.is_set)
        except ClientError as error:
            self._answers.put(failure_of(error, options))
        except Exception as error:  # noqa: BLE001  a bug there must not leave the window waiting for ever
            name = type(error).__name__
            self._answers.put(
                StartFailed(sentence=f"Hearth's background part can't be started ({name}).", needs_key=False)
            )
        else:
            self._answers.put(None)

    def _deliver(self) -> None:
        try:
            failure = self._answers.get_nowait()
        except Empty:
            return
        self._poll.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if failure is None:
            self.started.emit()
        else:
            self.failed.emit(failure)
