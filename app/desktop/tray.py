"""The tray icon: state by shape, everything in its menu; a desktop without a tray loses nothing but the icon.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from app.desktop.models.tray import TrayShape, TrayView

STOP_ALL = "Stop all agents"
LET_RUN = "Let agents run again"
SIZES_PX = (16, 22, 24, 32, 48, 64)


class Tray(QObject):
    """Draws a TrayView; says what was chosen."""

    open_chosen = Signal()
    switch_chosen = Signal(bool)  # True: stop all agents
    quit_chosen = Signal()

    def __init__(self, icons: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._icons = {shape: _icon(icons, shape) for shape in TrayShape}
        self._view: TrayView | None = None
        self._menu = QMenu()  # GNOME shows no icon that has no menu, so everything is in it
        self._open = self._menu.addAction("Open Hearth", self.open_chosen.emit)
        self._menu.addSeparator()
        self._status = self._menu.addAction("Starting…")
        self._status.setEnabled(False)
        self._running = self._menu.addAction("")
        self._running.setEnabled(False)
        self._menu.addSeparator()
        self._switch = self._menu.addAction(STOP_ALL, self._stop_or_let_run)
        self._menu.addSeparator()
        self._menu.addAction("Quit…", self.quit_chosen.emit)
        self._icon = QSystemTrayIcon(self._icons[TrayShape.IDLE], self)
        self._icon.setContextMenu(self._menu)
        self._icon.activated.connect(self._activated)
        self._icon.show()

    @staticmethod
    def is_there() -> bool:
        """Whether the desktop has a place for the icon now: it may come and go."""
        return QSystemTrayIcon.isSystemTrayAvailable()

    def show_view(self, view: TrayView) -> None:
        if view == self._view:
            return
        if self._view is None or view.shape is not self._view.shape:
            self._icon.setIcon(self._icons[view.shape])
        self._view = view
        self._icon.setToolTip(view.tooltip)
        self._status.setText(_menu_text(view.status[:1].upper() + view.status[1:]))
        self._running.setText(_menu_text(view.running))
        self._running.setVisible(bool(view.running))
        self._switch.setText(LET_RUN if view.stopped else STOP_ALL)
        self._switch.setEnabled(view.can_switch)

    def close(self) -> None:
        self._icon.hide()
        self._menu.deleteLater()

    def _stop_or_let_run(self) -> None:
        if self._view is not None:
            self.switch_chosen.emit(not self._view.stopped)

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.open_chosen.emit()


def _icon(folder: Path, shape: TrayShape) -> QIcon:
    icon = QIcon()
    for size in SIZES_PX:
        icon.addFile(str(folder / f"tray-{shape.value}-{size}.png"))
    return icon


def _menu_text(text: str) -> str:
    return text.replace("&", "&&")
