"""The last net: an unexpected error becomes one sentence for the user and a report without private text.

Runs in: desktop process, any thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from app.crash_report import describe, write_report


class CrashNet:
    """Installs itself as the hook for main thread and others. `tell` must be safe from any thread."""

    def __init__(self, home: Path, tell: Callable[[str], None]) -> None:
        self._home = home
        self._tell = tell
        self._told: set[str] = set()  # each bug is told once, not once a second
        self._hooks = sys.excepthook, threading.excepthook

    def install(self) -> None:
        sys.excepthook = self._catch
        threading.excepthook = lambda args: self._catch(args.exc_type, args.exc_value, args.exc_traceback)

    def remove(self) -> None:
        sys.excepthook, threading.excepthook = self._hooks

    def _catch(
        self, kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
            return
        description = describe(error)
        if description in self._told:
            return
        self._told.add(description)
        report = write_report(description, self._home)
        where = f" The report is {report}." if report else ""
        self._tell(f"Something in Hearth's window went wrong; your agents are not affected.{where}")
