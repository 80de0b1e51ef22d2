"""Talking with the model: streams an answer and keeps the conversation. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from itertools import pairwise

from agents import contract
from agents.core import ChatTurn, MessageStatus, StepUsage
from agents.errors import UsageProblem
from agents.models.local import EnginePool
from agents.models.usage import step_usage
from agents.storage import Store
from engine.core import (
    MAX_PROMPT_CHARS,
    Delta,
    Finished,
    FinishReason,
    JsonSchema,
    Message,
    Prefill,
    Priority,
    Request,
    Restarted,
    SamplingParams,
)
from engine.errors import EngineError, EngineStopped, PromptTooLong

SYSTEM_PROMPT = (
    "You are a helpful assistant that runs on the user's own computer. Answer briefly and truthfully."
)
TITLE_CHARS = 48
STOPPED = "Hearth was stopped in the middle of the answer; start it and ask again."
PROMPT_OVERHEAD_TOKENS = 200  # the chat template's own tokens, generously
TOKENS_AROUND_MESSAGE = 8  # the template's marks
MAX_CHARS_PER_TOKEN = 32  # on average over a talk, generously


class Chat:
    """One answer at a time for each caller; the engine puts people before background work."""

    def __init__(
        self,
        *,
        store: Store,
        engines: EnginePool,
        talk: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`talk` is open while somebody waits for an answer."""
        self._store = store
        self._engines = engines
        self._talk = talk

    async def answer(self, request: contract.ChatRequest) -> AsyncIterator[contract.ChatEvent]:
        """Streams the answer. Closing the iterator stops the generation and keeps what was written so far."""
        with self._talk():
            async with aclosing(self._answer(request)) as events:
                async for event in events:
                    yield event

    async def _answer(self, request: contract.ChatRequest) -> AsyncGenerator[contract.ChatEvent]:
        conversation_id, turn, history = await self._begin(request)
        text, status, usage = "", MessageStatus.CUT, StepUsage()
        try:
            yield await self._started(conversation_id)
            engine_request = await self._engine_request(request, history)
            async for event in self._engines.default.stream(engine_request):
                match event:
                    case Prefill():
                        yield contract.ChatProgress(
                            done_tokens=event.done_tokens, total_tokens=event.total_tokens
                        )
                    case Delta():
                        text += event.text
                        yield contract.ChatDelta(text=event.text)
                    case Restarted():
                        text = ""
                        yield contract.ChatRestarted(reason=event.reason)
                    case Finished():
                        text, usage = event.text, step_usage(event.usage)
                        if event.finish_reason is FinishReason.STOP:
                            status = MessageStatus.COMPLETE
                        # Stored before it is announced: who reads "done" may read the conversation at once.
                        await self._finish(turn, text, status, usage)
                        turn = None
                        yield _done(event)
        except EngineStopped as error:
            # An ordered stop: what was written so far stays, as after going away.
            problem = contract.Problem(code=error.code, message=STOPPED)
            yield contract.ChatFailed(error=problem)
        except EngineError as error:
            status = MessageStatus.FAILED
            yield contract.ChatFailed(
                error=contract.Problem(code=error.code, message=str(error), details=dict(error.details))
            )
        except Exception:
            status = MessageStatus.FAILED
            raise
        finally:
            await asyncio.shield(self._finish(turn, text, status, usage))

    async def _begin(
        self, request: contract.ChatRequest
    ) -> tuple[int | None, ChatTurn | None, list[Message]]:
        if not request.text.strip():
            raise UsageProblem("The message is empty; type a question first.")
        if not request.save:
            if request.conversation_id is not None:
                raise UsageProblem("A message that is not saved can't belong to a conversation.")
            return None, None, []
        conversations = self._store.conversations
        history: list[Message] = []
        if request.conversation_id is None:
            conversation = await conversations.create(_title_of(request.text))
        else:
            conversation = await conversations.get(request.conversation_id)
            history = _history(await conversations.turns(conversation.id))
        await conversations.add_turn(
            conversation.id, role="user", text=request.text, status=MessageStatus.COMPLETE
        )
        turn = await conversations.add_turn(
            conversation.id, role="assistant", text="", status=MessageStatus.STREAMING
        )
        return conversation.id, turn, history

    async def _started(self, conversation_id: int | None) -> contract.ChatStarted:
        if conversation_id is None:
            return contract.ChatStarted()
        conversation = await self._store.conversations.get(conversation_id)
        return contract.ChatStarted(conversation_id=conversation.id, title=conversation.title)

    async def _engine_request(self, request: contract.ChatRequest, history: list[Message]) -> Request:
        engine = self._engines.default
        await engine.start()
        system = Message(role="system", content=SYSTEM_PROMPT)
        question = Message(role="user", content=request.text)
        n_ctx = engine.status.n_ctx or 0
        # A talk grows without end, and counting does not: what can't fit anyway is not counted.
        room_chars = (
            min(MAX_PROMPT_CHARS, n_ctx * MAX_CHARS_PER_TOKEN) - len(SYSTEM_PROMPT) - len(request.text)
        )
        history = _newest(history, [len(message.content) for message in history], room_chars)
        counts = await engine.count_tokens([m.content for m in (system, *history, question)])
        fixed = counts[0] + counts[-1] + PROMPT_OVERHEAD_TOKENS
        if fixed >= n_ctx:
            raise PromptTooLong(counts[-1], n_ctx)
        max_tokens = min(request.max_tokens, n_ctx - fixed)
        sizes = [count + TOKENS_AROUND_MESSAGE for count in counts[1:-1]]
        kept = _newest(history, sizes, n_ctx - fixed - max_tokens)
        return Request(
            id=f"chat-{uuid.uuid4().hex[:12]}",
            messages=(system, *kept, question),
            sampling=SamplingParams(
                max_tokens=max_tokens, temperature=request.temperature, seed=request.seed
            ),
            constraint=JsonSchema(schema=request.json_schema) if request.json_schema is not None else None,
            priority=Priority.INTERACTIVE,
            speculate=request.seed is None,
        )

    async def _finish(
        self, turn: ChatTurn | None, text: str, status: MessageStatus, usage: StepUsage
    ) -> None:
        if turn is not None:
            await self._store.conversations.finish_turn(turn.id, text=text, status=status, usage=usage)


def _history(turns: list[ChatTurn]) -> list[Message]:
    """Earlier messages that the model should see again: each question with its answer.

    A failed or empty answer is left out together with its question, since many chat templates refuse two messages of one
    role in a row. What an answer holds that was cut short stays.
    """
    messages: list[Message] = []
    for question, answer in pairwise(turns):
        answered = answer.status is not MessageStatus.FAILED and answer.text.strip()
        if question.role == "user" and answer.role == "assistant" and answered:
            messages += [Message(role=turn.role, content=turn.text) for turn in (question, answer)]
    return messages


def _newest(history: list[Message], sizes: list[int], room: int) -> list[Message]:
    """The newest messages whose sizes fit into `room`; never begins with an answer whose question is gone."""
    kept: list[Message] = []
    for message, size in zip(reversed(history), reversed(sizes), strict=True):
        room -= size
        if room < 0:
            break
        kept.insert(0, message)
    while kept and kept[0].role != "user":
        kept.pop(0)
    return kept


def _title_of(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def _done(event: Finished) -> contract.ChatDone:
    return contract.ChatDone(
        text=event.text,
        finish_reason=event.finish_reason.value,
        prompt_tokens=event.usage.prompt_tokens,
        completion_tokens=event.usage.completion_tokens,
        tokens_per_s=round(event.usage.tokens_per_s, 1) or None,
    )
