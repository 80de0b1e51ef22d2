"""The theme in use: follows the system unless the user chose one, and draws icons in its colours.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from enum import StrEnum

import qtawesome
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from app.desktop.theme.palette import palette_of, sheet_of
from app.desktop.theme.system import Scheme, SystemScheme
from app.desktop.theme.tokens import DARK, LIGHT, Tokens

MIN_POINT_SIZE = 10.0


class ThemeChoice(StrEnum):
    """What the user chose."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


def tokens_for(choice: ThemeChoice, scheme: Scheme) -> Tokens:
    """The colours of a choice; a system that does not say gets light."""
    if choice is ThemeChoice.SYSTEM:
        return DARK if scheme is Scheme.DARK else LIGHT
    return DARK if choice is ThemeChoice.DARK else LIGHT


class Theme(QObject):
    """Applies a theme to the application; `changed` says that icons and documents are to be drawn anew."""

    changed = Signal()

    def __init__(
        self,
        application: QApplication,
        choice: ThemeChoice = ThemeChoice.SYSTEM,
        system: SystemScheme | None = None,
    ) -> None:
        super().__init__(application)
        self._application = application
        self._choice = choice
        self._system = system or SystemScheme(self)
        self._system.changed.connect(self._apply)
        application.setStyle("Fusion")
        font = application.font()
        if 0 < font.pointSizeF() < MIN_POINT_SIZE:
            font.setPointSizeF(MIN_POINT_SIZE)
            application.setFont(font)
        self._tokens = tokens_for(choice, self._system.scheme)
        self._dress()

    @property
    def tokens(self) -> Tokens:
        return self._tokens

    @property
    def choice(self) -> ThemeChoice:
        return self._choice

    def choose(self, choice: ThemeChoice) -> None:
        self._choice = choice
        self._apply()

    def icon(self, name: str, role: str = "text", *, checked_role: str | None = None) -> QIcon:
        """A Phosphor icon in the colour of a role; `checked_role` colours the pressed-in state of a button."""
        colours = {"color": getattr(self._tokens, role)}
        if checked_role is not None:
            colours["color_on"] = getattr(self._tokens, checked_role)
        icon: QIcon = qtawesome.icon(f"ph.{name}", color_disabled=self._tokens.border, **colours)
        return icon

    def _apply(self) -> None:
        tokens = tokens_for(self._choice, self._system.scheme)
        if tokens is not self._tokens:
            self._tokens = tokens
            self._dress()
            self.changed.emit()

    def _dress(self) -> None:
        self._application.setPalette(palette_of(self._tokens))
        self._application.setStyleSheet(sheet_of(self._tokens))
