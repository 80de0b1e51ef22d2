"""The frame of a page: a title, a place for buttons, and a scrolling column that does not grow too wide to read."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.desktop.widgets.basics import SPACE, SPACE_L, SPACE_XL, Label

READING_WIDTH_EM = 62


class Page(QWidget):
    """`column` takes the content, `head` the title and what stands beside it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setAccessibleName(title)
        self.title = Label(title, scale=1.6, bold=True)
        self.head = QHBoxLayout()
        self.head.setSpacing(SPACE)
        self.head.addWidget(self.title, 1)
        content = QWidget()
        content.setMaximumWidth(self.fontMetrics().averageCharWidth() * READING_WIDTH_EM * 2)
        self.column = QVBoxLayout(content)
        self.column.setContentsMargins(SPACE_XL, SPACE_XL, SPACE_XL, SPACE_XL)
        self.column.setSpacing(SPACE_L)
        self.column.addLayout(self.head)
        holder = QWidget()
        centre = QHBoxLayout(holder)
        centre.setContentsMargins(0, 0, 0, 0)
        centre.addStretch(1)
        centre.addWidget(content, 1000)
        centre.addStretch(1)
        self.scroll_area = QScrollArea()
        self.scroll_area.setWidgetResizable(True)
        self.scroll_area.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll_area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll_area.setWidget(holder)
        self.scroll_area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.scroll_area)
