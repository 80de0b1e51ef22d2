"""What the window shows before there is anything to show: starting, or why not and what to do.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.desktop.link.states import LinkState
from app.desktop.widgets.basics import SPACE, SPACE_L, SPACE_XL, Label, button, icon_size

HEADS = {
    LinkState.FAILED: "Hearth could not start",
    LinkState.NEEDS_KEY: "One question first",
    LinkState.STOPPED: "Hearth is stopped",
}
STARTING = "The first start tests the engine on this machine and may take a moment."
VERBS = {LinkState.FAILED: "Try again", LinkState.NEEDS_KEY: "Choose…", LinkState.STOPPED: "Start Hearth"}


class WaitingPage(QWidget):
    """A head, one sentence and at most one button."""

    pressed = Signal()

    def __init__(self, icons: Path) -> None:
        super().__init__()
        self.setAccessibleName("Starting")
        logo = QLabel()
        size = icon_size(self, 4.0)
        logo.setPixmap(QIcon(str(icons / "hearth-256.png")).pixmap(size, self.devicePixelRatioF()))
        self._head = Label(scale=1.4, bold=True)
        self._sentence = Label(role="muted", wrap=True, selectable=True)
        self._sentence.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._sentence.setMinimumWidth(self.fontMetrics().averageCharWidth() * 64)
        self._button = button("", "main")
        self._button.clicked.connect(self.pressed)
        box = QVBoxLayout(self)
        box.setContentsMargins(SPACE_XL, SPACE_XL, SPACE_XL, SPACE_XL)
        box.setSpacing(SPACE_L)
        box.addStretch(2)
        for each in (logo, self._head, self._sentence):
            box.addWidget(each, 0, Qt.AlignmentFlag.AlignHCenter)
        box.addSpacing(SPACE)
        box.addWidget(self._button, 0, Qt.AlignmentFlag.AlignHCenter)
        box.addStretch(3)

    def show_state(self, state: LinkState, sentence: str) -> None:
        self._head.setText(HEADS.get(state, "Starting Hearth…"))
        stopped = "Agents do not work until it is started again."
        texts = {LinkState.FAILED: sentence, LinkState.NEEDS_KEY: sentence, LinkState.STOPPED: stopped}
        self._sentence.setText(texts.get(state, STARTING))
        self._button.setText(VERBS.get(state, ""))
        self._button.setVisible(state in VERBS)
