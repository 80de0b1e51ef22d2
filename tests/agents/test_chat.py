"""Talking with the model: what is streamed, and what is kept. Real store, scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents import contract
from agents.chat import MAX_CHARS_PER_TOKEN, Chat
from agents.core import MessageStatus
from agents.errors import NotFound, UsageProblem
from agents.models.local import EnginePool
from agents.storage import Store
from engine.core import MAX_PROMPT_CHARS, Priority, Request, Restarted
from engine.errors import EngineDied, RequestInvalid
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec


def chat_with(store: Store, engine: ScriptedEngine) -> Chat:
    pool = EnginePool(
        default=ModelSpec(path=Path("/nowhere"), name="scripted"),
        make_engine=lambda _: engine,
        on_status=lambda *_: None,
    )
    return Chat(store=store, engines=pool)


async def events_of(chat: Chat, text: str, conversation_id: int | None = None) -> list[contract.ChatEvent]:
    request = contract.ChatRequest(text=text, conversation_id=conversation_id)
    return [event async for event in chat.answer(request)]


async def test_only_with_a_seed_of_the_user_s_nothing_is_guessed_ahead(store: Store) -> None:
    engine = ScriptedEngine(["one", "two"])
    chat = chat_with(store, engine)
    for seed in (None, 7):
        request = contract.ChatRequest(text="Hm?", seed=seed)
        assert isinstance([event async for event in chat.answer(request)][-1], contract.ChatDone)
    assert [request.speculate for request in engine.requests] == [True, False]


async def test_an_answer_streams_and_is_kept(store: Store) -> None:
    events = await events_of(chat_with(store, ScriptedEngine(["It is a river."])), "What is the Elbe?")
    started, done = events[0], events[-1]
    assert isinstance(started, contract.ChatStarted)
    assert isinstance(done, contract.ChatDone)
    text = "".join(event.text for event in events if isinstance(event, contract.ChatDelta))
    assert text == done.text == "It is a river."
    assert started.conversation_id is not None
    turns = await store.conversations.turns(started.conversation_id)
    assert [(turn.role, turn.text, turn.status) for turn in turns] == [
        ("user", "What is the Elbe?", MessageStatus.COMPLETE),
        ("assistant", "It is a river.", MessageStatus.COMPLETE),
    ]


async def test_the_next_question_carries_the_talk_so_far_and_goes_first(store: Store) -> None:
    engine = ScriptedEngine(["One.", "Two."])
    chat = chat_with(store, engine)
    started = (await events_of(chat, "First?"))[0]
    await events_of(chat, "Second?", started.conversation_id)
    last = engine.requests[-1]
    assert [message.content for message in last.messages][1:] == ["First?", "One.", "Second?"]
    assert last.priority is Priority.INTERACTIVE


async def test_old_messages_are_left_out_when_the_context_is_full(store: Store) -> None:
    engine = ScriptedEngine(["word " * 300] * 4, n_ctx=1_600)
    chat = chat_with(store, engine)
    started = (await events_of(chat, "q0"))[0]
    for index in range(1, 4):
        await events_of(chat, f"q{index}", started.conversation_id)
    contents = [message.content for message in engine.requests[-1].messages]
    assert contents[-1] == "q3"
    assert "q0" not in contents


async def test_a_question_that_is_longer_than_the_context_is_refused_in_words(store: Store) -> None:
    events = await events_of(chat_with(store, ScriptedEngine(["x"], n_ctx=512)), "long " * 2_000)
    assert isinstance(events[-1], contract.ChatFailed)
    assert events[-1].error.code == "prompt_too_long"


async def test_going_away_stops_the_generation_and_keeps_what_was_written(store: Store) -> None:
    engine = ScriptedEngine(["one two three four five"], delay_s=0.05)
    stream = chat_with(store, engine).answer(contract.ChatRequest(text="Count."))
    conversation_id = None
    async for event in stream:
        if isinstance(event, contract.ChatStarted):
            conversation_id = event.conversation_id
        if isinstance(event, contract.ChatDelta):
            break
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert conversation_id is not None
    answer = (await store.conversations.turns(conversation_id))[-1]
    assert answer.status is MessageStatus.CUT
    assert answer.text == "one"


async def test_an_engine_that_restarts_begins_the_answer_anew(store: Store) -> None:
    engine = ScriptedEngine([Restarted(reason="It ended."), "Whole answer."])
    events = await events_of(chat_with(store, engine), "Hm?")
    assert any(isinstance(event, contract.ChatRestarted) for event in events)
    assert isinstance(events[-1], contract.ChatDone)


async def test_a_failure_is_told_and_kept_as_failed(store: Store) -> None:
    events = await events_of(chat_with(store, ScriptedEngine([EngineDied("It ended twice.")])), "Hm?")
    failed = events[-1]
    assert isinstance(failed, contract.ChatFailed)
    assert failed.error.message == "It ended twice."
    conversation = (await store.conversations.list())[0]
    assert (await store.conversations.turns(conversation.id))[-1].status is MessageStatus.FAILED


async def test_a_bug_in_the_middle_of_an_answer_is_kept_as_failed(store: Store) -> None:
    def breaks(_: Request) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await events_of(chat_with(store, ScriptedEngine(breaks)), "Hm?")
    conversation = (await store.conversations.list())[0]
    assert (await store.conversations.turns(conversation.id))[-1].status is MessageStatus.FAILED


async def talk(store: Store, *answers: tuple[str, MessageStatus]) -> int:
    """A conversation with these answers to "q0", "q1", and so on."""
    conversation = await store.conversations.create("A talk")
    for index, (text, status) in enumerate(answers):
        await store.conversations.add_turn(
            conversation.id, role="user", text=f"q{index}", status=MessageStatus.COMPLETE
        )
        await store.conversations.add_turn(conversation.id, role="assistant", text=text, status=status)
    return conversation.id


async def test_a_question_without_an_answer_is_left_out_so_that_the_roles_alternate(store: Store) -> None:
    conversation_id = await talk(
        store,
        ("", MessageStatus.FAILED),
        ("half of a failed answer", MessageStatus.FAILED),
        ("a cut answer", MessageStatus.CUT),
        (" \n", MessageStatus.CUT),
        ("", MessageStatus.STREAMING),
        ("a whole answer", MessageStatus.COMPLETE),
    )
    engine = ScriptedEngine(["Yes."])
    await events_of(chat_with(store, engine), "q6", conversation_id)
    messages = engine.requests[-1].messages[1:]
    assert [message.content for message in messages] == ["q2", "a cut answer", "q5", "a whole answer", "q6"]
    assert [message.role for message in messages] == ["user", "assistant"] * 2 + ["user"]


class CountingEngine(ScriptedEngine):
    """Notes how many characters it was asked to count, and refuses as many as the real one."""

    counted_chars = 0

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted_chars = sum(map(len, texts))
        if self.counted_chars > MAX_PROMPT_CHARS:
            raise RequestInvalid("There is too much to count.")
        return await super().count_tokens(texts)


@pytest.mark.parametrize("n_ctx", [8_192, 1_000_000])
async def test_a_talk_of_any_length_goes_on_with_its_newest_messages(store: Store, n_ctx: int) -> None:
    long = ("word " * 100_000, MessageStatus.COMPLETE)
    conversation_id = await talk(store, *[long] * 9, ("the newest answer", MessageStatus.COMPLETE))
    engine = CountingEngine(["Yes."], n_ctx=n_ctx)
    events = await events_of(chat_with(store, engine), "And now?", conversation_id)
    assert isinstance(events[-1], contract.ChatDone)
    assert [message.content for message in engine.requests[-1].messages][-3:] == [
        "q9",
        "the newest answer",
        "And now?",
    ]
    assert engine.counted_chars <= min(MAX_PROMPT_CHARS, n_ctx * MAX_CHARS_PER_TOKEN)


async def test_a_message_that_is_not_saved_leaves_nothing(store: Store) -> None:
    chat = chat_with(store, ScriptedEngine(["Yes."]))
    events = [event async for event in chat.answer(contract.ChatRequest(text="Hm?", save=False))]
    assert isinstance(events[-1], contract.ChatDone)
    assert await store.conversations.list() == []


async def test_an_empty_question_and_an_unknown_conversation_are_refused(store: Store) -> None:
    chat = chat_with(store, ScriptedEngine([]))
    with pytest.raises(UsageProblem, match="empty"):
        await events_of(chat, "   ")
    with pytest.raises(NotFound):
        await events_of(chat, "Hm?", 99)


async def test_somebody_waits_from_the_question_to_the_end_of_the_answer_also_when_they_go_away(
    store: Store,
) -> None:
    waiting: list[bool] = []

    @contextmanager
    def talk() -> Iterator[None]:
        waiting.append(True)
        try:
            yield
        finally:
            waiting.append(False)

    pool = EnginePool(
        default=ModelSpec(path=Path("/nowhere"), name="scripted"),
        make_engine=lambda _: ScriptedEngine(["It is a river."] * 2),
        on_status=lambda *_: None,
    )
    chat = Chat(store=store, engines=pool, talk=talk)
    async for _ in chat.answer(contract.ChatRequest(text="What is the Elbe?")):
        assert waiting == [True]
    assert waiting == [True, False]
    answer = chat.answer(contract.ChatRequest(text="And the Oder?"))
    await anext(answer)
    assert isinstance(answer, AsyncGenerator)
    await answer.aclose()
    assert waiting == [True, False] * 2
    with pytest.raises(UsageProblem):
        await events_of(chat, " ")
    assert waiting == [True, False] * 3
