"""The messages of a conversation: what the user wrote, and answers drawn block by block as they come.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import QUrl, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from agents.contract import ChatMessage
from app.desktop.models import words
from app.desktop.models.blocks import Block, BlockSplitter
from app.desktop.models.chat import Answer, Phase, stored_note
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, SPACE_S, Card, Label, set_role
from app.desktop.widgets.markdown import CodeView, TextView

# Closed text gathers in one document up to this size; then a new one begins, so that closing a block stays cheap.
DOCUMENT_CHARS = 4_000
SHORT_CHARS = 2_000
QWIDGETSIZE_MAX = 16_777_215  # Qt's own, which PySide6 does not export


class QuestionView(QWidget):
    """What the user wrote, as it was written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        card = Card("mine", margin=SPACE + 4)
        view = TextView()
        view.setAccessibleName("You wrote")
        view.show_plain(text)
        card.box.addWidget(view)
        card.setMaximumWidth(self._natural_width(text) + 2 * (SPACE + 4) + SPACE)
        box = QHBoxLayout(self)
        box.setContentsMargins(SPACE * 6, 0, 0, 0)
        box.addStretch(1)
        box.addWidget(card, 1000)

    def _natural_width(self, text: str) -> int:
        """A short question gets a short bubble; a long one takes what there is."""
        if len(text) > SHORT_CHARS:
            return QWIDGETSIZE_MAX // 2
        return max(
            self.fontMetrics().horizontalAdvance(line.replace("\t", " " * 8)) for line in text.split("\n")
        )


class AnswerView(QWidget):
    """An answer. Closed blocks are drawn once; the tail is drawn anew with each `show_answer`."""

    link_clicked = Signal(QUrl)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._splitter = BlockSplitter()
        self._fed = ""
        self._restarts = 0
        self._drawn = 0  # closed blocks on the screen
        self._text: TextView | None = None  # takes the next closed text block
        self._text_source = ""
        self._tail: TextView | CodeView | None = None
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, SPACE * 3, 0)
        outer.setSpacing(SPACE_S)
        self._blocks = QVBoxLayout()
        self._blocks.setSpacing(SPACE)
        outer.addLayout(self._blocks)
        self._note = Label(role="muted", wrap=True, selectable=True)
        self._state = Label(role="muted")
        for each in (self._note, self._state):
            each.hide()
            outer.addWidget(each)
        theme.changed.connect(self._redraw)

    def show_message(self, message: ChatMessage) -> None:
        """A stored answer."""
        self._feed(message.text)
        self._splitter.finish()
        self._draw()
        self._note.show_text(stored_note(message))
        self._state.show_text(words.rate(message.tokens_per_s) if message.tokens_per_s else "")

    def show_answer(self, answer: Answer) -> None:
        """The answer being written, as it stands now."""
        if answer.restarts != self._restarts or not answer.text.startswith(self._fed):
            self._restarts = answer.restarts
            self._clear()
        self._feed(answer.text[len(self._fed) :])
        if answer.phase.is_over:
            self._splitter.finish()
        self._draw()
        set_role(self._note, "danger" if answer.phase is Phase.FAILED else "muted")
        self._note.show_text(answer.note)
        self._state.show_text(answer.state_line)

    # --- drawing

    def _feed(self, piece: str) -> None:
        self._fed += piece
        self._splitter.feed(piece)

    def _draw(self) -> None:
        for block in self._splitter.closed[self._drawn :]:
            self._draw_closed(block)
        self._drawn = len(self._splitter.closed)
        self._draw_tail(self._splitter.tail)

    def _draw_closed(self, block: Block) -> None:
        if block.is_code:
            self._place_code(block)
            self._tail, self._text = None, None  # the widget stays, closed
        elif self._text is not None and len(self._text_source) + len(block.text) <= DOCUMENT_CHARS:
            self._drop_tail()
            self._text_source += "\n\n" + block.text
            self._text.show_markdown(self._text_source)
        else:
            self._text, self._text_source = self._place_text(block), block.text
            self._tail = None

    def _draw_tail(self, block: Block | None) -> None:
        if block is None:
            self._drop_tail()
        elif block.is_code:
            self._tail = self._place_code(block)
        else:
            self._tail = self._place_text(block)

    def _place_code(self, block: Block) -> CodeView:
        """Shows code in the tail's widget if that is one for code, else in a new one."""
        view = self._tail
        if not isinstance(view, CodeView):
            self._drop_tail()
            view = CodeView(self._theme, words.one_line(block.language, 24))
            self._blocks.addWidget(view)
        view.show_code(block.text)
        return view

    def _place_text(self, block: Block) -> TextView:
        view = self._tail
        if not isinstance(view, TextView):
            self._drop_tail()
            view = TextView()
            view.setAccessibleName("Answer")
            view.anchorClicked.connect(self.link_clicked)
            self._blocks.addWidget(view)
        view.show_markdown(block.text)
        return view

    def _drop_tail(self) -> None:
        if self._tail is not None:
            self._drop(self._tail)
            self._tail = None

    def _redraw(self) -> None:
        """A new theme: documents carry colours."""
        text, finished = self._fed, self._splitter.tail is None
        self._clear()
        self._feed(text)
        if finished:
            self._splitter.finish()
        self._draw()

    def _clear(self) -> None:
        while (item := self._blocks.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                self._drop(widget)
        self._splitter, self._fed, self._drawn = BlockSplitter(), "", 0
        self._text, self._text_source, self._tail = None, "", None

    def _drop(self, widget: QWidget) -> None:
        self._blocks.removeWidget(widget)
        widget.hide()
        widget.deleteLater()
