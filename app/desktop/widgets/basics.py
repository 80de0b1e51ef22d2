"""Labels, cards and buttons: plain text only, sized by the font, named for screen readers."""

from __future__ import annotations

import html

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.desktop.theme.theme import Theme

SPACE_S, SPACE, SPACE_L, SPACE_XL = 4, 8, 16, 24


def set_role(widget: QWidget, role: str, *, name: str = "role") -> None:
    """Says what a widget is, and has the style sheet look again."""
    if widget.property(name) == role:
        return
    widget.setProperty(name, role)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


class Label(QLabel):
    """Text that came from anywhere: never taken for HTML, selectable where it is worth copying."""

    def __init__(
        self,
        text: str = "",
        role: str = "",
        *,
        wrap: bool = False,
        selectable: bool = False,
        scale: float = 1.0,
        bold: bool = False,
    ) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(wrap)
        self.setText(text)
        if role:
            self.setProperty("role", role)
        if selectable:
            self.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
        if scale != 1.0 or bold:
            self.setFont(scaled(self.font(), scale, bold=bold))

    def show_text(self, text: str) -> None:
        """Shows a text, or hides when there is none."""
        if text != self.text():
            self.setText(text)
        self.setVisible(bool(text))


class ElidedLabel(Label):
    """One line that is cut with an ellipsis where there is no room; the whole text is its tooltip then."""

    def __init__(
        self,
        text: str = "",
        role: str = "",
        *,
        bold: bool = False,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
    ) -> None:
        self._mode = mode
        super().__init__(text, role, bold=bold)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(self.fontMetrics().averageCharWidth() * 6, super().minimumSizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), Qt.AlignmentFlag.AlignVCenter, self._shown())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self.setToolTip(plain_tooltip(self.text()) if self._shown() != self.text() else "")

    def _shown(self) -> str:
        return self.fontMetrics().elidedText(self.text(), self._mode, self.contentsRect().width())


class Card(QFrame):
    """A framed box with a vertical layout."""

    def __init__(self, kind: str = "card", *, margin: int = SPACE_L, spacing: int = SPACE) -> None:
        super().__init__()
        self.setProperty("kind", kind)
        self.box = QVBoxLayout(self)
        self.box.setContentsMargins(margin, margin, margin, margin)
        self.box.setSpacing(spacing)


class IconButton(QToolButton):
    """A button that shows only an icon: its name is spoken and is its tooltip."""

    def __init__(self, theme: Theme, icon: str, name: str, role: str = "muted") -> None:
        super().__init__()
        self._theme, self._icon, self._role = theme, icon, role
        self.setAccessibleName(name)
        self.setToolTip(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setIconSize(icon_size(self, 1.3))
        theme.changed.connect(self._draw)
        self._draw()

    def show_as(self, icon: str, name: str, role: str) -> None:
        self._icon, self._role = icon, role
        self.setAccessibleName(name)
        self.setToolTip(name)
        self._draw()

    def _draw(self) -> None:
        self.setIcon(self._theme.icon(self._icon, self._role))


class IconLabel(QLabel):
    """A small picture beside words; the words say what it means, so screen readers skip it."""

    def __init__(
        self, theme: Theme, icon: str = "circle", role: str = "muted", *, scale: float = 1.25
    ) -> None:
        super().__init__()
        self._theme, self._icon, self._role = theme, icon, role
        self._size = icon_size(self, scale)
        self.setFixedSize(self._size)
        theme.changed.connect(self._draw)
        self._draw()

    def show_icon(self, icon: str, role: str) -> None:
        if (icon, role) != (self._icon, self._role):
            self._icon, self._role = icon, role
            self._draw()

    def _draw(self) -> None:
        ratio = self.devicePixelRatioF()
        self.setPixmap(self._theme.icon(self._icon, self._role).pixmap(self._size, ratio))


def button(text: str, kind: str = "") -> QPushButton:
    made = QPushButton(text)
    if kind:
        made.setProperty("kind", kind)
    return made


def icon_size(widget: QWidget, scale: float = 1.0) -> QSize:
    """Icons grow with the font."""
    height = round(QFontMetrics(widget.font()).height() * scale)
    return QSize(height, height)


def scaled(font: QFont, scale: float, *, bold: bool = False) -> QFont:
    font = QFont(font)
    font.setPointSizeF(font.pointSizeF() * scale)
    if bold:
        font.setWeight(QFont.Weight.DemiBold)
    return font


def plain_tooltip(text: str) -> str:
    """Qt takes a tooltip for HTML when it looks like it: so it always is, and the text is escaped."""
    return f"<p>{html.escape(text)}</p>"


def row(*widgets: QWidget | int, spacing: int = SPACE, parent: QBoxLayout | None = None) -> QHBoxLayout:
    """Widgets side by side; a number is a stretch."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for each in widgets:
        if isinstance(each, int):
            layout.addStretch(each)
        else:
            layout.addWidget(each)
    if parent is not None:
        parent.addLayout(layout)
    return layout
