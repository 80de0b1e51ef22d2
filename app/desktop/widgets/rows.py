"""Rows that can be clicked and focused, and a list of them that is changed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, SPACE_S, ElidedLabel, IconLabel, Label, set_role

Item = TypeVar("Item")
Row = TypeVar("Row", bound=QWidget)


class RowButton(QPushButton):
    """Icon, title, detail and a chip in one button."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setProperty("kind", "row")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.icon_label = IconLabel(theme)
        self.title = ElidedLabel(bold=True)
        self.detail = ElidedLabel(role="muted")
        self.chip = Label(role="chip")
        self.side = Label(role="muted")
        self.text_box = QVBoxLayout()
        self.text_box.setSpacing(2)
        self.text_box.addWidget(self.title)
        self.text_box.addWidget(self.detail)
        self._line = layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE, SPACE, SPACE, SPACE)
        layout.setSpacing(SPACE + SPACE_S)
        layout.addWidget(self.icon_label, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(self.text_box, 1)
        layout.addWidget(self.chip, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self.side, 0, Qt.AlignmentFlag.AlignVCenter)
        for each in (self.icon_label, self.title, self.detail, self.chip, self.side):
            each.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return self._line.sizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return self._line.minimumSize()

    def show_words(
        self,
        title: str,
        detail: str,
        *,
        chip: str = "",
        side: str = "",
        icon: str,
        role: str,
        detail_role: str = "muted",
    ) -> None:
        self.icon_label.show_icon(icon, role)
        self.title.setText(title)
        self.detail.show_text(detail)
        set_role(self.detail, detail_role)
        self.chip.show_text(chip)
        self.side.show_text(side)
        self.setAccessibleName(", ".join(part for part in (title, detail, chip, side) if part))
        self.updateGeometry()


class KeyedRows(QWidget, Generic[Item, Row]):
    """Keeps one row for each key: a row that stays keeps its focus and its place on the screen."""

    def __init__(
        self, make: Callable[[Item], Row], update: Callable[[Row, Item], None], *, spacing: int = 0
    ) -> None:
        super().__init__()
        self._make, self._update = make, update
        self._rows: dict[object, Row] = {}
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._box.setSpacing(spacing)

    @property
    def rows(self) -> dict[object, Row]:
        return self._rows

    def sync(self, items: Iterable[tuple[object, Item]]) -> None:
        """Shows these items in this order."""
        wanted = dict(items)
        for key in [key for key in self._rows if key not in wanted]:
            gone = self._rows.pop(key)
            self._box.removeWidget(gone)
            gone.hide()
            gone.deleteLater()
        for place, (key, item) in enumerate(wanted.items()):
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = self._make(item)
            self._update(row, item)
            if self._box.indexOf(row) != place:
                self._box.insertWidget(place, row)
        self.setVisible(bool(wanted))
