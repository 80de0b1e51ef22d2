"""Tells the runtime what the desktop sees of its user: for how long nobody touched the computer, and whether it is locked.

Runs in: desktop process, main thread; the session's services are asked without waiting. What nobody tells stays unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QPoint, QTimer
from PySide6.QtDBus import QDBusConnection, QDBusMessage, QDBusPendingCallWatcher
from PySide6.QtGui import QCursor

from agents.contract import Presence
from app.desktop.link.runtime_link import RuntimeLink

REPORT_EVERY_MS = 30_000
_ANSWER_WITHIN_MS = 2_000
# GNOME tells for how long nobody touched anything, in milliseconds; many desktops tell whether the screen is locked.
_IDLE = ("org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core", "GetIdletime")
_LOCKED = ("org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver", "GetActive")


class Pointer:
    """Whether the pointer has moved since the last look: then somebody is there. Input of other kinds it does not see."""

    def __init__(self, position: Callable[[], QPoint]) -> None:
        self._position = position
        self._last: QPoint | None = None
        self._looked_s = 0.0

    def idle_s(self, now_s: float) -> float | None:
        """For how long nobody can have been away at most; None where the pointer stood still, which says nothing."""
        position, since_s = self._position(), now_s - self._looked_s
        moved = self._last is not None and position != self._last
        self._last, self._looked_s = position, now_s
        return since_s if moved else None


class PresenceReporter(QObject):
    """Reports every 30 s while the line is up. The status is read with it, since the tray shows when due times were looked at."""

    def __init__(
        self,
        link: RuntimeLink,
        parent: QObject | None = None,
        *,
        every_ms: int = REPORT_EVERY_MS,
        position: Callable[[], QPoint] = QCursor.pos,
    ) -> None:
        super().__init__(parent)
        self._link = link
        self._pointer = Pointer(position)
        self._bus = QDBusConnection.sessionBus()
        self._asked: list[QDBusPendingCallWatcher] = []
        self._idle_s: float | None = None
        self._locked: bool | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(every_ms)
        self._timer.timeout.connect(self.look)
        self._timer.start()

    def look(self) -> None:
        """Asks anew, and reports once all have answered."""
        if not self._link.is_connected or self._asked:
            return
        self._link.refresh_status()
        self._idle_s = self._locked = None
        if self._bus.isConnected():
            self._ask(_IDLE, self._take_idle)
            self._ask(_LOCKED, self._take_locked)
        if not self._asked:
            self._report()

    def close(self) -> None:
        self._timer.stop()

    def _ask(self, what: tuple[str, str, str], take: Callable[[object], None]) -> None:
        name, path, method = what
        message = QDBusMessage.createMethodCall(name, path, name, method)
        message.setAutoStartService(False)  # a question about presence starts no program
        watcher = QDBusPendingCallWatcher(self._bus.asyncCall(message, _ANSWER_WITHIN_MS), self)
        self._asked.append(watcher)
        watcher.finished.connect(lambda ended: self._answered(ended, take))

    def _answered(self, watcher: QDBusPendingCallWatcher, take: Callable[[object], None]) -> None:
        arguments = [] if watcher.isError() else watcher.reply().arguments()
        self._asked.remove(watcher)
        watcher.deleteLater()
        if arguments:
            take(arguments[0])
        if not self._asked:
            self._report()

    def _take_idle(self, value: object) -> None:
        if isinstance(value, int):
            self._idle_s = value / 1000

    def _take_locked(self, value: object) -> None:
        if isinstance(value, bool):
            self._locked = value

    def _report(self) -> None:
        moved_s = self._pointer.idle_s(time.monotonic())
        known = [idle_s for idle_s in (self._idle_s, moved_s) if idle_s is not None]
        presence = Presence(idle_s=min(known, default=None), locked=self._locked)
        if presence != Presence() and self._link.is_connected:
            self._link.api.presence(presence, lambda _none: None, lambda _trouble: None)
