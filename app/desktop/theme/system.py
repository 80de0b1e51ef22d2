"""Asks the system whether it is light or dark: Qt first, then the desktop portal, which answers where Qt does not.

Runs in: desktop process, main thread; the portal is asked without waiting.
"""

from __future__ import annotations

from enum import StrEnum

from PySide6.QtCore import SLOT, QObject, Qt, Signal, Slot
from PySide6.QtDBus import QDBusConnection, QDBusMessage, QDBusPendingCallWatcher, QDBusVariant
from PySide6.QtGui import QGuiApplication

_PORTAL = "org.freedesktop.portal.Desktop"
_PATH = "/org/freedesktop/portal/desktop"
_SETTINGS = "org.freedesktop.portal.Settings"
_NAMESPACE, _KEY = "org.freedesktop.appearance", "color-scheme"
_ANSWER_WITHIN_MS = 2_000


class Scheme(StrEnum):
    """What the system wants."""

    LIGHT = "light"
    DARK = "dark"
    UNKNOWN = "unknown"


class SystemScheme(QObject):
    """Knows the system's scheme and says when it changes."""

    changed = Signal(object)  # Scheme

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._portal = Scheme.UNKNOWN
        self._watcher: QDBusPendingCallWatcher | None = None
        self._bus = QDBusConnection.sessionBus()
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._tell)
        if self._bus.isConnected():
            self._ask()
            slot = SLOT("portal_changed(QString,QString,QDBusVariant)")  # a str, whatever PySide6's stubs say
            self._bus.connect(_PORTAL, _PATH, _SETTINGS, "SettingChanged", self, slot)  # type: ignore[call-overload]

    @property
    def scheme(self) -> Scheme:
        """Qt's answer when it has one, else the portal's."""
        match QGuiApplication.styleHints().colorScheme():
            case Qt.ColorScheme.Dark:
                return Scheme.DARK
            case Qt.ColorScheme.Light:
                return Scheme.LIGHT
            case _:
                return self._portal

    def _ask(self) -> None:
        message = QDBusMessage.createMethodCall(_PORTAL, _PATH, _SETTINGS, "ReadOne")
        message.setArguments([_NAMESPACE, _KEY])
        self._watcher = QDBusPendingCallWatcher(self._bus.asyncCall(message, _ANSWER_WITHIN_MS), self)
        self._watcher.finished.connect(self._answered)

    def _answered(self, watcher: QDBusPendingCallWatcher) -> None:
        arguments = [] if watcher.isError() else watcher.reply().arguments()
        watcher.deleteLater()
        self._watcher = None
        if arguments:
            self._set_portal(arguments[0])

    @Slot(str, str, QDBusVariant)
    def portal_changed(self, namespace: str, key: str, value: object) -> None:
        """The portal's SettingChanged signal."""
        if (namespace, key) == (_NAMESPACE, _KEY):
            self._set_portal(value)

    def _set_portal(self, value: object) -> None:
        while isinstance(value, QDBusVariant):
            value = value.variant()
        # 1 prefers dark, 2 prefers light, 0 has no preference (the portal's own numbers)
        match value:
            case 1:
                self._portal = Scheme.DARK
            case 2:
                self._portal = Scheme.LIGHT
            case _:
                self._portal = Scheme.UNKNOWN
        self._tell()

    def _tell(self) -> None:
        self.changed.emit(self.scheme)
