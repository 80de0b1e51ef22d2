"""Markdown from a model, drawn inert: no HTML, no image, no file and no network; links only tell that they were clicked.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtGui import (
    QFont,
    QImage,
    QResizeEvent,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextOption,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QFrame, QPlainTextEdit, QSizePolicy, QTextBrowser, QWidget

from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, Card, IconButton, Label, row

_FEATURES = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
_LINES_SHOWN = 24


def _nothing(kind: int) -> QImage | None:
    """What is loaded for any address. For an image "nothing" is an empty one: given none, Qt's image handler opens
    the address as a file by itself (seen in Qt 6.12)."""
    if kind != QTextDocument.ResourceType.ImageResource.value:
        return None
    empty = QImage(1, 1, QImage.Format.Format_ARGB32)
    empty.fill(Qt.GlobalColor.transparent)
    return empty


class InertDocument(QTextDocument):
    """A document that loads nothing. Qt's own would read file:// addresses that stand in the text."""

    def loadResource(self, kind: int, _url: QUrl | str) -> Any:  # noqa: N802  Qt's name
        return _nothing(kind)

    def set_untrusted_markdown(self, text: str) -> None:
        """Draws the text; each image is replaced by its name before anything lays it out."""
        self.setMarkdown(text, _FEATURES)
        for start, length, name in reversed(self._images()):
            cursor = QTextCursor(self)
            cursor.setPosition(start)
            cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
            cursor.insertText(f"[{name}]", QTextCharFormat())

    def _images(self) -> list[tuple[int, int, str]]:
        found = []
        block = self.begin()
        while block.isValid():
            for item in block:  # type: ignore[attr-defined]
                fragment = item.fragment()
                form = fragment.charFormat()
                if form.isImageFormat():
                    name = form.property(QTextCharFormat.Property.ImageAltText) or "image"
                    found.append((fragment.position(), fragment.length(), str(name)))
            block = block.next()
        return found


class TextView(QTextBrowser):
    """A run of text as tall as its content; it never scrolls by itself."""

    def __init__(self) -> None:
        super().__init__()
        document = InertDocument(self)
        document.setDocumentMargin(0)
        option = document.defaultTextOption()
        option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        document.setDefaultTextOption(option)
        self._inert = document
        self.setDocument(document)
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setTabChangesFocus(True)
        document.documentLayout().documentSizeChanged.connect(lambda _size: self._fit())

    def loadResource(self, kind: int, _url: QUrl | str) -> Any:  # noqa: N802  Qt's name
        return _nothing(kind)

    def show_markdown(self, text: str) -> None:
        self._inert.set_untrusted_markdown(text)
        self._fit()

    def show_plain(self, text: str) -> None:
        self._inert.setPlainText(text)
        self._fit()

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(super().sizeHint().width(), self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self._fit()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  Qt's name
        event.ignore()  # the conversation scrolls, not its pieces

    def _fit(self) -> None:
        height = max(self.fontMetrics().height(), round(self._inert.size().height() + 0.5))
        if height != self.height() or self.minimumHeight() != height:
            self.setFixedHeight(height)


class CodeView(Card):
    """Code in a box with its language and a button to copy it."""

    def __init__(self, theme: Theme, language: str) -> None:
        super().__init__("code", margin=SPACE + 2, spacing=SPACE // 2)
        self._edit = _CodeEdit()
        copy = IconButton(theme, "copy", "Copy the code")
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self.code))
        row(Label(language or "code", "muted"), 1, copy, parent=self.box)
        self.box.addWidget(self._edit)

    def show_code(self, text: str) -> None:
        self._edit.show_code(text)

    @property
    def code(self) -> str:
        return self._edit.toPlainText()


class _CodeEdit(QPlainTextEdit):
    """Read-only code that grows with its lines and scrolls sideways."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("kind", "code")
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setAccessibleName("Code")
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setFrameShape(QFrame.Shape.NoFrame)
        font = QFont("monospace")
        font.setStyleHint(QFont.StyleHint.Monospace)
        font.setPointSizeF(self.font().pointSizeF())
        self.setFont(font)
        self.document().setDocumentMargin(0)

    def show_code(self, text: str) -> None:
        shown = self.toPlainText()
        if text.startswith(shown) and shown:
            cursor = QTextCursor(self.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            cursor.insertText(text[len(shown) :])
        elif text != shown:
            self.setPlainText(text)
        lines = min(_LINES_SHOWN, max(1, self.blockCount()))
        room = self.horizontalScrollBar().sizeHint().height() + SPACE
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + room)
