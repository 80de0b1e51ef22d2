"""The real desktop process, with a hand on it: says on stdout what is shown, takes commands on stdin.

    click LABEL   the button of that name, in the open question or the window
    close         the window's close button
    page NAME     shows a page
    write TEXT    into the field of the chat
    state, texts  says how the window stands, or every label that can be read in it

Started by the tests as `python driven.py HOME [--background]`; everything between the application's names and its end is
app.desktop.main.run.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, QSocketNotifier, QTimer
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLabel,
    QMainWindow,
    QMessageBox,
    QPlainTextEdit,
    QWidget,
)

from app.desktop.main import make_application, run


def say(what: str, **details: object) -> None:
    sys.stdout.write(json.dumps({"what": what, **details}) + "\n")
    sys.stdout.flush()


class Hand(QObject):
    """Sees windows come and go, and does what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = QSocketNotifier(sys.stdin.fileno(), QSocketNotifier.Type.Read, self)
        self._reader.activated.connect(self._read)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            shown = event.type() is QEvent.Type.Show
            if isinstance(watched, QMainWindow):
                say("window", shown=shown, size=[watched.width(), watched.height()])
            elif isinstance(watched, QMessageBox) and shown:
                QTimer.singleShot(0, lambda: say("question", text=watched.text()))
        return False

    def _read(self) -> None:
        data = os.read(sys.stdin.fileno(), 4096).decode()
        if not data:
            self._reader.setEnabled(False)
        for line in data.splitlines():
            command, _, label = line.partition(" ")
            QTimer.singleShot(0, lambda command=command, label=label: self._do(command, label))

    def _do(self, command: str, label: str) -> None:
        window = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow))
        if command == "close":
            window.close()
        elif command == "page":
            window.show_page(label)  # type: ignore[attr-defined]
        elif command == "write":
            window.chat.composer.findChild(QPlainTextEdit).setPlainText(label)  # type: ignore[attr-defined]
        elif command == "texts":
            shown = [w for w in window.findChildren(QWidget) if w.isVisible()]
            say("texts", texts=[w.text() for w in shown if isinstance(w, QLabel) and w.text()])
        elif command == "state":
            say(
                "state",
                page=window.page_name,  # type: ignore[attr-defined]
                visible=window.isVisible(),
                line=window._link.state.value,  # type: ignore[attr-defined]
                background=window.palette().window().color().name(),
            )
        else:
            place = QApplication.activeModalWidget() or window
            pressed = [b for b in place.findChildren(QAbstractButton) if b.text().replace("&", "") == label]
            say("clicked", found=bool(pressed))
            if pressed:
                pressed[0].click()


if __name__ == "__main__":
    application = make_application()
    hand = Hand()
    application.installEventFilter(hand)
    code = run(Path(sys.argv[1]), background="--background" in sys.argv)
    application.removeEventFilter(hand)
    sys.exit(code)
