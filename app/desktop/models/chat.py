"""One conversation as the chat page shows it, and the answer that is being written. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, assert_never

from agents.contract import (
    ChatDelta,
    ChatDone,
    ChatFailed,
    ChatMessage,
    ChatProgress,
    ChatRestarted,
    ChatStarted,
)
from app.desktop.models.words import rate


class Phase(StrEnum):
    """How far an answer is."""

    SENDING = "sending"
    WAITING = "waiting"  # for its turn
    READING = "reading"  # the prompt
    WRITING = "writing"
    COMPLETE = "complete"
    CUT = "cut"  # stopped by the user, by its length or with the connection
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (Phase.COMPLETE, Phase.CUT, Phase.FAILED)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer in work. `restarts` counts how often its text began anew."""

    phase: Phase = Phase.SENDING
    text: str = ""
    conversation_id: int | None = None
    title: str | None = None
    read_share: float = 0.0  # of the prompt, 0 to 1
    restarts: int = 0
    note: str = ""  # one sentence under the text: why it was cut, failed or began anew
    tokens_per_s: float | None = None

    def after(self, event: Any) -> Answer:
        """The answer after one ChatEvent; nothing changes it once it is over."""
        if self.phase.is_over:
            return self
        match event:
            case ChatStarted():
                return replace(
                    self, phase=Phase.WAITING, conversation_id=event.conversation_id, title=event.title
                )
            case ChatProgress():
                share = event.done_tokens / event.total_tokens if event.total_tokens else 1.0
                return replace(self, phase=Phase.READING, read_share=min(1.0, share))
            case ChatDelta():
                return replace(self, phase=Phase.WRITING, text=self.text + event.text)
            case ChatRestarted():
                note = f"{event.reason.rstrip('.')}. The answer began anew."
                return replace(
                    self, phase=Phase.WAITING, text="", read_share=0.0, restarts=self.restarts + 1, note=note
                )
            case ChatDone():
                return self._done(event)
            case ChatFailed():
                return replace(self, phase=Phase.FAILED, note=event.error.message)
            case _:
                assert_never(event)

    def broken_off(self, sentence: str | None) -> Answer:
        """The stream ended: in order, or with a reason."""
        if self.phase.is_over:
            return self
        if sentence is None:
            return replace(self, phase=Phase.CUT, note="Stopped.")
        return replace(self, phase=Phase.FAILED, note=sentence)

    @property
    def state_line(self) -> str:
        """What the user reads while nothing is written yet, and the speed afterwards."""
        match self.phase:
            case Phase.SENDING | Phase.WAITING:
                return "Waiting for its turn…"
            case Phase.READING:
                return f"Reading… {self.read_share:.0%}"
            case Phase.WRITING:
                return ""
            case Phase.COMPLETE | Phase.CUT | Phase.FAILED:
                return rate(self.tokens_per_s) if self.tokens_per_s else ""
            case _:
                assert_never(self.phase)

    def _done(self, event: ChatDone) -> Answer:
        phase, note = Phase.COMPLETE, self.note
        if event.finish_reason == "length":
            phase, note = Phase.CUT, "Cut: the answer reached its length limit."
        elif event.finish_reason == "cancelled":
            phase, note = Phase.CUT, "Stopped."
        return replace(self, phase=phase, text=event.text, note=note, tokens_per_s=event.tokens_per_s)


def stored_note(message: ChatMessage) -> str:
    """The sentence under a message that was stored incomplete."""
    match message.status:
        case "cut":
            return "This answer was cut."
        case "failed":
            return "This answer failed."
        case "streaming":
            return "Still being written elsewhere."
        case _:
            return ""
