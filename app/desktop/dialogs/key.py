"""How the database is kept when the system has no keyring, or its passphrase at a later start.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QDialog, QLineEdit, QRadioButton, QVBoxLayout, QWidget

from app.desktop.dialogs.asker import Asker
from app.desktop.widgets.basics import SPACE, SPACE_XL, Label, button, row
from app.launch import LaunchOptions

MIN_PASSPHRASE_CHARS = 8


class KeyDialog(QDialog):
    """Offers passphrase, key file and no encryption; `options` is the answer after it was accepted.

    A home that exists already is opened, not set up: then a passphrase is not asked for twice.
    """

    def __init__(self, sentence: str, *, is_new: bool, asker: Asker, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_new, self._asker = is_new, asker
        self.setWindowTitle("Hearth")
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(SPACE_XL, SPACE_XL, SPACE_XL, SPACE_XL)
        self._box.setSpacing(SPACE)
        title = "How shall Hearth keep your data?" if is_new else "Open your data"
        self._box.addWidget(Label(title, scale=1.3, bold=True))
        lead = (
            "Hearth encrypts what your agents write. This system has no keyring that could hold the key, "
            "so please choose:"
            if is_new
            else sentence
        )
        self._box.addWidget(Label(lead, "muted", wrap=True))
        self._add_passphrase()
        self._add_key_file()
        if is_new:
            self._add_no_encryption()
        self._problem = Label(role="danger", wrap=True)
        self._problem.hide()
        self._box.addWidget(self._problem)
        self._box.addStretch(1)
        later = button("Not now")
        later.clicked.connect(self.reject)
        self._ok = button("Continue", "main")
        self._ok.setDefault(True)
        self._ok.clicked.connect(self._check)
        row(1, later, self._ok, parent=self._box)
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * 78)
        self._passphrase.setChecked(True)

    def _add_passphrase(self) -> None:
        self._passphrase = self._choice(
            "A passphrase",
            "You type it when Hearth starts. It is stored nowhere: if it is lost, so are the data."
            if self._is_new
            else "The one that was chosen for this home.",
        )
        self._field, self._repeat = QLineEdit(), QLineEdit()
        for field, name in ((self._field, "Passphrase"), (self._repeat, "Passphrase again")):
            field.setEchoMode(QLineEdit.EchoMode.Password)
            field.setPlaceholderText(name)
            field.setAccessibleName(name)
            self._box.addWidget(field)
        self._repeat.setVisible(self._is_new)

    def _add_key_file(self) -> None:
        self._key_file = self._choice(
            "A key file",
            "Hearth makes a file that only you can read, or takes one that it made; keep a copy of it elsewhere."
            if self._is_new
            else "The file that was made for this home, or one that holds the recovery code.",
        )
        self._path = QLineEdit()
        self._path.setPlaceholderText("Path of the key file")
        self._path.setAccessibleName("Path of the key file")
        self._browse = button("Browse…")
        self._browse.clicked.connect(self._pick)
        row(self._path, self._browse, parent=self._box)

    def _add_no_encryption(self) -> None:
        self._choice("No encryption", "Everybody who can read this disk can read what your agents wrote.")

    def _choice(self, title: str, explanation: str) -> QRadioButton:
        self._box.addSpacing(SPACE)
        choice = QRadioButton(title)
        choice.setAccessibleDescription(explanation)
        choice.toggled.connect(lambda _on: self._draw())
        self._box.addWidget(choice)
        self._box.addWidget(Label(explanation, "muted", wrap=True))
        return choice

    @property
    def options(self) -> LaunchOptions:
        if self._passphrase.isChecked():
            return LaunchOptions(passphrase=self._field.text())
        if self._key_file.isChecked():
            return LaunchOptions(key_file=Path(self._path.text()).expanduser())
        return LaunchOptions(insecure_no_encryption=True)

    def _draw(self) -> None:
        for each in (self._field, self._repeat):
            each.setEnabled(self._passphrase.isChecked())
        self._path.setEnabled(self._key_file.isChecked())
        self._browse.setEnabled(self._key_file.isChecked())

    def _pick(self) -> None:
        path = self._asker.pick_key_file()
        if path is not None:
            self._path.setText(path)

    def _check(self) -> None:
        problem = self._problem_of_input()
        self._problem.show_text(problem)
        if not problem:
            self.accept()

    def _problem_of_input(self) -> str:
        if self._passphrase.isChecked():
            if self._is_new and len(self._field.text()) < MIN_PASSPHRASE_CHARS:
                return f"Choose a passphrase of at least {MIN_PASSPHRASE_CHARS} characters."
            if self._is_new and self._field.text() != self._repeat.text():
                return "The two passphrases differ; type them again."
            return "" if self._field.text() else "Type the passphrase."
        if self._key_file.isChecked() and not self._path.text().strip():
            return "Name the key file."
        return ""
