"""The scrolling thread of a conversation: follows the newest words only while the user is at the bottom.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, QUrl, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from agents.contract import ChatMessage
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, SPACE_L, SPACE_XL, Label, button
from app.desktop.widgets.messages import AnswerView, QuestionView

MESSAGES_SHOWN = 40  # older ones are drawn when asked for
_AT_BOTTOM_PX = 32


class ThreadView(QScrollArea):
    """Messages from oldest to newest."""

    link_clicked = Signal(QUrl)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self.views: list[QWidget] = []  # oldest first
        self._older: list[ChatMessage] = []
        self._follows = True
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        holder = QWidget()
        column = QWidget()
        column.setMaximumWidth(self.fontMetrics().averageCharWidth() * 110)
        centre = QHBoxLayout(holder)
        centre.setContentsMargins(SPACE_XL, SPACE_L, SPACE_XL, SPACE_L)
        centre.addStretch(1)
        centre.addWidget(column, 1000)
        centre.addStretch(1)
        box = QVBoxLayout(column)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(SPACE_L)
        self._earlier = button("Show earlier messages")
        self._earlier.clicked.connect(self._show_older)
        box.addWidget(self._earlier, 0, Qt.AlignmentFlag.AlignHCenter)
        self._hint = Label(role="muted", wrap=True)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        box.addWidget(self._hint, 2)
        self._box = QVBoxLayout()
        self._box.setSpacing(SPACE_L)
        box.addLayout(self._box)
        box.addStretch(1)
        self.setWidget(holder)
        self._holder = holder
        self._latest = button("Jump to latest")
        self._latest.setParent(self)
        self._latest.clicked.connect(self.jump_to_latest)
        self._latest.hide()
        holder.installEventFilter(self)
        self.verticalScrollBar().valueChanged.connect(self._scrolled)

    # --- content

    def show_messages(self, messages: list[ChatMessage], hint: str = "") -> None:
        """Replaces everything; `hint` is read when there is no message."""
        for view in self.views:
            self._box.removeWidget(view)
            view.hide()
            view.deleteLater()
        self.views = []
        self._older = messages[:-MESSAGES_SHOWN]
        for message in messages[-MESSAGES_SHOWN:]:
            self._add(self._view_of(message))
        self._earlier.setVisible(bool(self._older))
        self._hint.show_text("" if messages else hint)
        self.jump_to_latest()

    def add_question(self, text: str) -> None:
        self._hint.hide()
        self._add(QuestionView(text))
        self.jump_to_latest()

    def add_answer(self) -> AnswerView:
        """An empty answer, to be drawn by the caller as it comes."""
        self._hint.hide()
        view = self._new_answer()
        self._add(view)
        return view

    def _view_of(self, message: ChatMessage) -> QWidget:
        if message.role == "user":
            return QuestionView(message.text)
        view = self._new_answer()
        view.show_message(message)
        return view

    def _new_answer(self) -> AnswerView:
        view = AnswerView(self._theme)
        view.link_clicked.connect(self.link_clicked)
        return view

    def _add(self, view: QWidget) -> None:
        self.views.append(view)
        self._box.addWidget(view)

    def _show_older(self) -> None:
        bar = self.verticalScrollBar()
        from_bottom = bar.maximum() - bar.value()
        batch, self._older = self._older[-MESSAGES_SHOWN:], self._older[:-MESSAGES_SHOWN]
        views = [self._view_of(message) for message in batch]
        for place, view in enumerate(views):
            self._box.insertWidget(place, view)
        self.views = views + self.views
        self._earlier.setVisible(bool(self._older))
        self._holder.adjustSize()
        bar.setValue(bar.maximum() - from_bottom)

    # --- scrolling

    def jump_to_latest(self) -> None:
        self._follows = True
        self._scroll_down()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        if event.type() is QEvent.Type.Resize and self._follows:
            self._scroll_down()
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self._place_latest()

    def _scroll_down(self) -> None:
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _scrolled(self, value: int) -> None:
        self._follows = value >= self.verticalScrollBar().maximum() - _AT_BOTTOM_PX
        self._latest.setVisible(not self._follows)
        self._place_latest()

    def _place_latest(self) -> None:
        size = self._latest.sizeHint()
        self._latest.resize(size)
        self._latest.move((self.width() - size.width()) // 2, self.height() - size.height() - SPACE)
        self._latest.raise_()
