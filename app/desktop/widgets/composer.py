"""The field to write in: Enter sends, Shift+Enter begins a new line, Esc stops the answer.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, Label, button

TEXT_LIMIT_CHARS = 200_000  # the contract's
_LINES = (2, 10)


class Composer(QWidget):
    """Text field, Send or Stop, and a line that says where the words go."""

    sent = Signal(str)
    stop_clicked = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._answering = False
        self._reachable = False
        self._field = _Field()
        self._field.setAccessibleName("Your message")
        self._field.setPlaceholderText("Ask anything…")
        self._field.send_pressed.connect(self._send)
        self._field.stop_pressed.connect(self._stop)
        self._field.textChanged.connect(self._draw)
        self._send_button = button("Send", "main")
        self._send_button.clicked.connect(self._send)
        self._stop_button = button("Stop")
        self._stop_button.clicked.connect(self._stop)
        self._hint = Label(role="muted")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(SPACE // 2)
        line = QHBoxLayout()
        line.setSpacing(SPACE)
        line.addWidget(self._field, 1)
        for each in (self._send_button, self._stop_button):
            line.addWidget(each, 0, Qt.AlignmentFlag.AlignBottom)
        box.addLayout(line)
        box.addWidget(self._hint)
        self.setFocusProxy(self._field)
        self._draw()

    def clear(self) -> None:
        self._field.clear()

    def set_reachable(self, reachable: bool) -> None:
        self._reachable = reachable
        self._draw()

    def set_answering(self, answering: bool, *, here: bool) -> None:
        """While an answer is written, here or in another conversation, the next question waits in the field."""
        self._answering = answering
        elsewhere = answering and not here
        self._hint.setText(
            "An answer is being written in another conversation; stop it or wait."
            if elsewhere
            else "Enter sends · Shift+Enter begins a new line"
        )
        self._draw()

    def _draw(self) -> None:
        text = self._field.toPlainText()
        self._send_button.setVisible(not self._answering)
        self._stop_button.setVisible(self._answering)
        self._send_button.setEnabled(self._reachable and bool(text.strip()) and len(text) <= TEXT_LIMIT_CHARS)

    def _send(self) -> None:
        if self._send_button.isEnabled() and not self._answering:
            self.sent.emit(self._field.toPlainText().strip())

    def _stop(self) -> None:
        if self._answering:
            self.stop_clicked.emit()


class _Field(QPlainTextEdit):
    send_pressed = Signal()
    stop_pressed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)
        self.document().setDocumentMargin(2)
        self.textChanged.connect(self._fit)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802  Qt's name
        is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.send_pressed.emit()
        elif event.key() == Qt.Key.Key_Escape:
            self.stop_pressed.emit()
        else:
            super().keyPressEvent(event)

    def _fit(self) -> None:
        lines = min(max(round(self.document().size().height()), _LINES[0]), _LINES[1])
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + SPACE * 3)
