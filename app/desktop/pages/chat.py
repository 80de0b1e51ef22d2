"""Chat: the conversations on the left, the open one beside them, and a field to write in.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from agents.contract import ConversationDetail, ConversationInfo
from app.desktop.dialogs.asker import Asker
from app.desktop.link.chat_session import ChatSession
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState
from app.desktop.link.transport import Trouble
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, SPACE_L, SPACE_XL, Label
from app.desktop.widgets.composer import Composer
from app.desktop.widgets.conversations import ConversationList
from app.desktop.widgets.messages import AnswerView
from app.desktop.widgets.thread import ThreadView

FRAME_MS = 33  # the tail of an answer is drawn at most 30 times a second
HINT = "Ask the model on this machine anything. Nothing you write leaves it."


class ChatPage(QWidget):
    """One answer is written at a time; it goes on while other conversations or pages are looked at."""

    loaded = Signal()

    def __init__(self, theme: Theme, link: RuntimeLink, asker: Asker) -> None:
        super().__init__()
        self.setAccessibleName("Chat")
        self._link, self._asker = link, asker
        self._open_id: int | None = None  # the conversation on the screen; None is a new one
        self._session: ChatSession | None = None
        self._answer_view: AnswerView | None = None  # where the session is drawn, when it is on the screen
        self.conversations = ConversationList(theme)
        self.conversations.chosen.connect(self.open_conversation)
        self.conversations.new_clicked.connect(self.new_conversation)
        self.conversations.delete_clicked.connect(self._delete)
        self.thread_view = ThreadView(theme)
        self.thread_view.link_clicked.connect(asker.open_link)
        self.composer = Composer(theme)
        self.composer.sent.connect(self._send)
        self.composer.stop_clicked.connect(self._stop)
        self._message = Label(role="danger", wrap=True, selectable=True)
        self._message.hide()
        self._lay_out()
        self._frame = QTimer(self)
        self._frame.setSingleShot(True)
        self._frame.setInterval(FRAME_MS)
        self._frame.timeout.connect(self._draw_answer)
        link.state_changed.connect(self._link_changed)
        self.new_conversation()

    def _lay_out(self) -> None:
        side = QVBoxLayout()
        side.setContentsMargins(SPACE_L, SPACE_XL, SPACE_L, SPACE_L)
        side.addWidget(self.conversations)
        holder = QFrame()
        holder.setLayout(side)
        em = self.fontMetrics().averageCharWidth()
        holder.setFixedWidth(em * 34)
        line = QFrame()
        line.setProperty("kind", "upright")
        below = QVBoxLayout()
        below.setContentsMargins(SPACE_XL, 0, SPACE_XL, SPACE_L)
        below.setSpacing(SPACE)
        below.addWidget(self._message)
        self.composer.setMaximumWidth(em * 110)
        centre = QHBoxLayout()
        centre.addStretch(1)
        centre.addWidget(self.composer, 1000)
        centre.addStretch(1)
        below.addLayout(centre)
        right = QVBoxLayout()
        right.setSpacing(0)
        right.addWidget(self.thread_view, 1)
        right.addLayout(below)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(holder)
        outer.addWidget(line)
        outer.addLayout(right, 1)

    # --- the list

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self._load_list()
        self.composer.setFocus()

    def _link_changed(self, state: LinkState) -> None:
        self.composer.set_reachable(state is LinkState.CONNECTED)
        if state is LinkState.CONNECTED:
            self._load_list()

    def _load_list(self) -> None:
        if self._link.is_connected:
            self._link.api.conversations(self._show_list, self._fail)

    def _show_list(self, conversations: list[ConversationInfo]) -> None:
        self.conversations.show_conversations(conversations, self._open_id)
        self.loaded.emit()

    # --- opening

    @property
    def open_id(self) -> int | None:
        return self._open_id

    def new_conversation(self) -> None:
        self._show_thread(None)
        self.thread_view.show_messages([], HINT)
        self.conversations.select(None)
        self.composer.setFocus()

    def open_conversation(self, conversation_id: int) -> None:
        if conversation_id == self._open_id:
            return
        self._show_thread(conversation_id)

        def loaded(detail: ConversationDetail) -> None:
            if self._open_id == conversation_id:
                self._show_detail(detail)

        self._link.api.conversation(conversation_id, loaded, self._fail)

    def _show_thread(self, conversation_id: int | None) -> None:
        self._open_id = conversation_id
        self._answer_view = None
        self._message.show_text("")
        self._show_composer()

    def _show_detail(self, detail: ConversationDetail) -> None:
        session = self._session if self._is_session_open() else None
        messages = detail.messages
        if session is not None:  # its answer is drawn live, below
            messages = [m for m in messages if m.status != "streaming"]
        self.thread_view.show_messages(messages, HINT)
        if session is not None:
            if not messages or messages[-1].role != "user":
                self.thread_view.add_question(session.question)
            self._answer_view = self.thread_view.add_answer()
            self._draw_answer()

    def _delete(self, conversation_id: int, title: str) -> None:
        if not self._asker.confirm(
            f"Delete “{title}”?", "Its messages are gone for good.", "Delete", danger=True
        ):
            return
        if self._session is not None and self._session.answer.conversation_id == conversation_id:
            self._session.stop()

        def deleted(_none: None) -> None:
            if self._open_id == conversation_id:
                self.new_conversation()
            self._load_list()

        self._link.api.delete_conversation(conversation_id, deleted, self._fail)

    # --- the answer

    def _is_session_open(self) -> bool:
        return self._session is not None and self._session.answer.conversation_id == self._open_id

    def _send(self, text: str) -> None:
        if self._session is not None or not self._link.is_connected:
            return
        self._message.show_text("")
        self.thread_view.add_question(text)
        self._answer_view = self.thread_view.add_answer()
        session = ChatSession(self._link.api, text, self._open_id, self)
        self._session = session
        session.changed.connect(self._answer_changed)
        session.finished.connect(self._answer_finished)
        self.composer.clear()
        self._draw_answer()
        self._show_composer()

    def _stop(self) -> None:
        if self._session is not None:
            self._session.stop()

    def _answer_changed(self) -> None:
        session = self._session
        if session is None:
            return
        new_id = session.answer.conversation_id
        if self._answer_view is not None and self._open_id is None and new_id is not None:
            self._open_id = new_id  # the new conversation has got its number
            self._load_list()
        if not self._frame.isActive():
            self._frame.start()

    def _draw_answer(self) -> None:
        if self._session is not None and self._answer_view is not None:
            self._answer_view.show_answer(self._session.answer)

    def _answer_finished(self) -> None:
        self._frame.stop()
        self._draw_answer()
        if self._session is not None:
            self._session.deleteLater()
            self._session = None
        self._answer_view = None
        self._show_composer()
        self._load_list()

    def _show_composer(self) -> None:
        self.composer.set_answering(self._session is not None, here=self._answer_view is not None)

    def _fail(self, trouble: Trouble) -> None:
        self._message.show_text(trouble.message)
