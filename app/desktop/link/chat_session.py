"""One answer being written: sends the question, follows the stream, stops it.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pydantic import ValidationError
from PySide6.QtCore import QObject, Signal

from agents.contract import CHAT_EVENT, ChatRequest
from app.desktop.link.api import RuntimeApi
from app.desktop.link.transport import Trouble
from app.desktop.models.chat import Answer

BROKEN = "The connection broke before the answer was complete; ask again."


class ChatSession(QObject):
    """`changed` follows each event; `finished` comes once, after the last."""

    changed = Signal()
    finished = Signal()

    def __init__(
        self, api: RuntimeApi, text: str, conversation_id: int | None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.question = text
        self.answer = Answer(conversation_id=conversation_id)
        self._stopped = False
        self._stream = api.chat(ChatRequest(text=text, conversation_id=conversation_id))
        self._stream.payload.connect(self._take)
        self._stream.finished.connect(self._ended)

    def stop(self) -> None:
        """Closing the connection ends the generation."""
        if not self._stopped and not self.answer.phase.is_over:
            self._stopped = True
            self._stream.close()

    def _take(self, text: str) -> None:
        if self._stopped:
            return
        try:
            event = CHAT_EVENT.validate_json(text)
        except ValidationError:
            return  # a kind of event that this version does not know
        self.answer = self.answer.after(event)
        self.changed.emit()

    def _ended(self, trouble: Trouble | None) -> None:
        if self._stopped:
            sentence = None
        elif trouble is None or trouble.unreachable:
            sentence = BROKEN
        else:
            sentence = trouble.message
        self.answer = self.answer.broken_off(sentence)
        self.changed.emit()
        self.finished.emit()
