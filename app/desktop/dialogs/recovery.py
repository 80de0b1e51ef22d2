"""Shows the recovery code until the user says that it is written down.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QApplication, QDialog, QVBoxLayout, QWidget

from app.desktop.widgets.basics import SPACE, SPACE_XL, Card, Label, button, row, scaled


class RecoveryDialog(QDialog):
    """Accepted: it is written down. Closed otherwise, it comes again at the next start."""

    def __init__(self, code: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Hearth")
        box = QVBoxLayout(self)
        box.setContentsMargins(SPACE_XL, SPACE_XL, SPACE_XL, SPACE_XL)
        box.setSpacing(SPACE + 4)
        box.addWidget(Label("Write down your recovery code", scale=1.3, bold=True))
        box.addWidget(
            Label(
                "Your data are encrypted, and the key lies in this system's keyring. Should the keyring be lost, "
                "this code is the only other way to your data. It is shown only now.",
                "muted",
                wrap=True,
            )
        )
        card = Card("code")
        text = Label(code, wrap=True, selectable=True)
        text.setFont(scaled(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont), 1.15))
        text.setAccessibleName("Recovery code")
        card.box.addWidget(text)
        box.addWidget(card)
        copy = button("Copy")
        copy.clicked.connect(lambda: QApplication.clipboard().setText(code))
        later = button("Later")
        later.clicked.connect(self.reject)
        written = button("I have written it down", "main")
        written.clicked.connect(self.accept)
        row(copy, 1, later, written, parent=box)
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * 72)
