"""The bar on the left: the pages, and a menu for the rest.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QActionGroup, QIcon
from PySide6.QtWidgets import QFrame, QLabel, QMenu, QSizePolicy, QToolButton, QVBoxLayout

from app.desktop.theme.theme import Theme, ThemeChoice
from app.desktop.widgets.basics import SPACE, SPACE_S, IconButton, icon_size

_CHOICES = {
    ThemeChoice.SYSTEM: "As the system",
    ThemeChoice.LIGHT: "Light",
    ThemeChoice.DARK: "Dark",
}


class Rail(QFrame):
    """`entries` are (key, name, icon); the key is what `chosen` carries."""

    chosen = Signal(str)
    theme_chosen = Signal(object)  # ThemeChoice
    quit_chosen = Signal()

    def __init__(self, theme: Theme, logo: QIcon, entries: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self.setProperty("kind", "rail")
        self._theme = theme
        box = QVBoxLayout(self)
        box.setContentsMargins(SPACE, SPACE * 2, SPACE, SPACE * 2)
        box.setSpacing(SPACE_S)
        picture = QLabel()
        picture.setPixmap(logo.pixmap(icon_size(self, 2.2), self.devicePixelRatioF()))
        box.addWidget(picture, 0, Qt.AlignmentFlag.AlignHCenter)
        box.addSpacing(SPACE * 2)
        # no QButtonGroup: it takes unchecked buttons out of the tab order
        self._buttons: dict[str, tuple[QToolButton, str]] = {}
        for place, (key, name, icon) in enumerate(entries, start=1):
            box.addWidget(self._entry(key, name, icon, place))
        box.addStretch(1)
        box.addWidget(self._more(), 0, Qt.AlignmentFlag.AlignHCenter)
        self.setFixedWidth(self.fontMetrics().averageCharWidth() * 12 + 2 * SPACE)
        theme.changed.connect(self._draw)
        self._draw()

    def select(self, key: str | None) -> None:
        """Marks the page that is shown."""
        for each, (made, _icon) in self._buttons.items():
            made.setChecked(each == key)

    def _entry(self, key: str, name: str, icon: str, place: int) -> QToolButton:
        made = QToolButton()
        made.setProperty("kind", "rail")
        made.setText(name)
        made.setAccessibleName(name)
        made.setToolTip(f"{name} (Ctrl+{place})")
        made.setCheckable(True)
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        made.setIconSize(icon_size(self, 1.5))
        made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        made.clicked.connect(lambda: self.chosen.emit(key))
        self._buttons[key] = made, icon
        return made

    def _more(self) -> IconButton:
        more = IconButton(self._theme, "dots-three", "More")
        menu = QMenu(more)
        menu.addSection("Appearance")
        group = QActionGroup(menu)
        for choice, name in _CHOICES.items():
            action = menu.addAction(name)
            action.setCheckable(True)
            action.setChecked(choice is self._theme.choice)
            action.triggered.connect(lambda _on=False, choice=choice: self.theme_chosen.emit(choice))
            group.addAction(action)
        menu.addSeparator()
        menu.addAction("Quit Hearth…", self.quit_chosen.emit)
        more.setMenu(menu)
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return more

    def _draw(self) -> None:
        for made, icon in self._buttons.values():
            made.setIcon(self._theme.icon(icon, "muted", checked_role="accent"))
