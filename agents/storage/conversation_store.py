"""Talks between the user and the model, and their messages."""

from __future__ import annotations

import builtins

from sqlite_utils import Database

from agents.clock import Clock
from agents.core import ChatTurn, Conversation, MessageStatus, StepUsage
from agents.errors import Conflict, NotFound
from agents.storage.driver import Row, insert, row, rows
from agents.storage.values import from_us, to_text, to_us
from agents.storage.writer import Writer


class ConversationStore:
    """Conversations, last used first, and their turns in order."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def create(self, title: str) -> Conversation:
        now = to_us(self._clock.now())

        def job(db: Database) -> Conversation:
            values = {"title": to_text(title), "created_us": now, "updated_us": now}
            return _conversation(db, insert(db, "conversations", values))

        return await self._writer.write(job)

    async def get(self, conversation_id: int) -> Conversation:
        return await self._writer.read(lambda db: _conversation(db, conversation_id))

    async def list(self, limit: int = 100) -> builtins.list[Conversation]:
        def job(db: Database) -> list[Conversation]:
            found = rows(
                db, "SELECT * FROM conversations ORDER BY updated_us DESC, id DESC LIMIT ?", (limit,)
            )
            return [_conversation_from(values) for values in found]

        return await self._writer.read(job)

    async def delete(self, conversation_id: int) -> None:
        """Deletes a conversation and its messages; NotFound when there is none."""

        def job(db: Database) -> None:
            _conversation(db, conversation_id)
            db.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))

        await self._writer.write(job)

    async def turns(self, conversation_id: int) -> builtins.list[ChatTurn]:
        def job(db: Database) -> list[ChatTurn]:
            _conversation(db, conversation_id)
            found = rows(
                db, "SELECT * FROM messages WHERE conversation_id = ? ORDER BY id", (conversation_id,)
            )
            return [_turn_from(values) for values in found]

        return await self._writer.read(job)

    async def add_turn(
        self, conversation_id: int, *, role: str, text: str, status: MessageStatus
    ) -> ChatTurn:
        now = to_us(self._clock.now())

        def job(db: Database) -> ChatTurn:
            _conversation(db, conversation_id)
            values: Row = {
                "conversation_id": conversation_id,
                "role": role,
                "text": to_text(text),
                "status": status,
                "created_us": now,
            }
            turn_id = insert(db, "messages", values)
            db.execute("UPDATE conversations SET updated_us = ? WHERE id = ?", (now, conversation_id))
            return _turn(db, turn_id)

        return await self._writer.write(job)

    async def finish_turn(
        self, turn_id: int, *, text: str, status: MessageStatus, usage: StepUsage
    ) -> ChatTurn:
        """Ends a streaming turn. NotFound when its conversation was deleted meanwhile, Conflict when it has ended already."""
        now = to_us(self._clock.now())

        def job(db: Database) -> ChatTurn:
            turn = _turn(db, turn_id)
            if turn.status is not MessageStatus.STREAMING:
                raise Conflict(f"Message {turn_id} is {turn.status}; it can't become {status}.")
            db.execute(
                """
                UPDATE messages SET text = ?, status = ?, prompt_tokens = ?, completion_tokens = ?, prefill_s = ?, decode_s = ?
                WHERE id = ?
                """,
                (
                    to_text(text),
                    status,
                    usage.prompt_tokens,
                    usage.completion_tokens,
                    usage.prefill_s,
                    usage.decode_s,
                    turn_id,
                ),
            )
            db.execute("UPDATE conversations SET updated_us = ? WHERE id = ?", (now, turn.conversation_id))
            return _turn(db, turn_id)

        return await self._writer.write(job)


def cut_streaming_turns(db: Database) -> None:
    """Messages that a runtime was streaming when it ended stay as far as they came."""
    db.execute(
        "UPDATE messages SET status = ? WHERE status = ?", (MessageStatus.CUT, MessageStatus.STREAMING)
    )


def _conversation(db: Database, conversation_id: int) -> Conversation:
    found = row(db, "SELECT * FROM conversations WHERE id = ?", (conversation_id,))
    if found is None:
        raise NotFound(f"There is no conversation {conversation_id}.")
    return _conversation_from(found)


def _conversation_from(found: Row) -> Conversation:
    return Conversation(
        id=found["id"],
        title=found["title"],
        created_at=from_us(found["created_us"]),
        updated_at=from_us(found["updated_us"]),
    )


def _turn(db: Database, turn_id: int) -> ChatTurn:
    found = row(db, "SELECT * FROM messages WHERE id = ?", (turn_id,))
    if found is None:
        raise NotFound(f"There is no message {turn_id}.")
    return _turn_from(found)


def _turn_from(found: Row) -> ChatTurn:
    return ChatTurn(
        id=found["id"],
        conversation_id=found["conversation_id"],
        role=found["role"],
        text=found["text"],
        status=MessageStatus(found["status"]),
        created_at=from_us(found["created_us"]),
        usage=usage_from(found),
    )


def usage_from(found: Row) -> StepUsage:
    return StepUsage(
        prompt_tokens=found["prompt_tokens"],
        completion_tokens=found["completion_tokens"],
        prefill_s=found["prefill_s"],
        decode_s=found["decode_s"],
    )
