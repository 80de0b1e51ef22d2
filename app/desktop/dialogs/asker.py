"""Short questions to the user, behind one class so that pages can be tested without modal windows.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QAbstractButton, QFileDialog, QMessageBox, QWidget


class Asker:
    """Each method waits for the answer; the event loop goes on meanwhile."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self._parent = parent

    def confirm(self, question: str, detail: str, yes: str, *, danger: bool = False) -> bool:
        """A question with a verb on its button, and Cancel."""
        box = self._box(question, detail)
        accept = box.addButton(
            yes, QMessageBox.ButtonRole.DestructiveRole if danger else QMessageBox.ButtonRole.AcceptRole
        )
        cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(cancel if danger else accept)
        return self._clicked(box) is accept

    def choose(self, question: str, detail: str, choices: tuple[str, ...]) -> str | None:
        """One of several verbs, or None for Cancel; the first is the default."""
        box = self._box(question, detail)
        buttons = {box.addButton(text, QMessageBox.ButtonRole.AcceptRole): text for text in choices}
        box.setDefaultButton(next(iter(buttons)))
        box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
        clicked = self._clicked(box)
        return next((text for each, text in buttons.items() if each is clicked), None)

    def tell(self, sentence: str, detail: str = "") -> None:
        box = self._box(sentence, detail)
        box.addButton("OK", QMessageBox.ButtonRole.AcceptRole)
        self._clicked(box)

    def pick_folder(self, title: str, start: str = "") -> str | None:
        return QFileDialog.getExistingDirectory(self._parent, title, start or str(Path.home())) or None

    def pick_file(self, title: str, patterns: str) -> str | None:
        path, _ = QFileDialog.getOpenFileName(self._parent, title, str(Path.home()), patterns)
        return path or None

    def pick_key_file(self) -> str | None:
        """A file that exists, or the name of one to be made."""
        path, _ = QFileDialog.getSaveFileName(
            self._parent,
            "Choose or name the key file",
            str(Path.home() / "hearth.key"),
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        return path or None

    def open_file(self, path: str) -> bool:
        """Asks the system to show a file; False when it can't."""
        return Path(path).exists() and QDesktopServices.openUrl(QUrl.fromLocalFile(path))

    def open_link(self, url: QUrl) -> None:
        """A link that a model wrote: only the web, and only after a yes to the whole address."""
        if url.scheme() not in ("http", "https"):
            self.tell("This link is not a web address, so Hearth does not open it.", url.toDisplayString())
        elif self.confirm("Open this address in the browser?", url.toDisplayString(), "Open"):
            QDesktopServices.openUrl(url)

    def _box(self, text: str, detail: str) -> QMessageBox:
        box = QMessageBox(self._parent)
        box.setWindowTitle("Hearth")
        box.setIcon(QMessageBox.Icon.NoIcon)
        box.setTextFormat(Qt.TextFormat.PlainText)  # file names and addresses are never taken for HTML
        box.setText(text)
        box.setInformativeText(detail)
        return box

    @staticmethod
    def _clicked(box: QMessageBox) -> QAbstractButton | None:
        """Waits for the answer; the box outlives it, as its buttons are what is compared."""
        box.exec()
        box.deleteLater()
        return box.clickedButton()
