"""The last net: an unexpected error becomes one sentence for the user and a report without private text.

Runs in: desktop process, any thread.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

REPORTS_KEPT = 20


def report_text(kind: type[BaseException], trace: TracebackType | None) -> str:
    """Names of files, lines and functions, and the kind of error: no message and no value, they may hold the user's text."""
    frames = "".join(
        f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}\n"
        for frame in traceback.extract_tb(trace)
    )
    python = sys.version.split()[0]
    return f"{kind.__module__}.{kind.__qualname__}\nPython {python} on {sys.platform}\n{frames}"


class CrashNet:
    """Installs itself as the hook for main thread and others. `tell` must be safe from any thread."""

    def __init__(self, logs: Path, tell: Callable[[str], None]) -> None:
        self._logs = logs
        self._tell = tell
        self._told: set[str] = set()  # each bug is told once, not once a second
        self._hooks = sys.excepthook, threading.excepthook

    def install(self) -> None:
        sys.excepthook = self._catch
        threading.excepthook = lambda args: self._catch(args.exc_type, args.exc_value, args.exc_traceback)

    def remove(self) -> None:
        sys.excepthook, threading.excepthook = self._hooks

    def _catch(
        self, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
            return
        text = report_text(kind, trace)
        if text in self._told:
            return
        self._told.add(text)
        path = self._write(text)
        where = f" The report is {path}." if path else ""
        self._tell(f"Something in Hearth's window went wrong; your agents are not affected.{where}")

    def _write(self, text: str) -> Path | None:
        now = datetime.now(UTC)
        path = self._logs / f"crash-desktop-{now:%Y%m%d-%H%M%S-%f}.txt"
        try:
            self._logs.mkdir(mode=0o700, exist_ok=True)
            for old in sorted(self._logs.glob("crash-desktop-*.txt"))[: -REPORTS_KEPT + 1]:
                old.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(f"{now:%Y-%m-%d %H:%M:%S} UTC\n{text}", encoding="utf-8")
        except OSError:
            return None
        return path
