"""Talks keep their messages in order, and a message that was cut off says so."""

from __future__ import annotations

import pytest

from agents.core import MessageStatus, StepUsage
from agents.errors import Conflict, NotFound
from agents.storage import Store
from tests.agents.conftest import FakeClock

USAGE = StepUsage(prompt_tokens=7, completion_tokens=3, prefill_s=0.1, decode_s=0.2)


async def test_a_talk_keeps_its_messages_in_order(store: Store, clock: FakeClock) -> None:
    talk = await store.conversations.create("First words")
    asked = await store.conversations.add_turn(
        talk.id, role="user", text="Hei 🌍", status=MessageStatus.COMPLETE
    )
    clock.advance(1)
    answer = await store.conversations.add_turn(
        talk.id, role="assistant", text="", status=MessageStatus.STREAMING
    )
    clock.advance(2)
    ended = await store.conversations.finish_turn(
        answer.id, text="Hello.", status=MessageStatus.COMPLETE, usage=USAGE
    )

    assert await store.conversations.turns(talk.id) == [asked, ended]
    assert (ended.text, ended.status, ended.usage, ended.role) == (
        "Hello.",
        MessageStatus.COMPLETE,
        USAGE,
        "assistant",
    )
    assert (await store.conversations.get(talk.id)).updated_at == clock.now()


async def test_the_last_used_talk_comes_first(store: Store, clock: FakeClock) -> None:
    talks = []
    for title in ("one", "two", "three"):
        talks.append(await store.conversations.create(title))
        clock.advance(1)
    await store.conversations.add_turn(talks[0].id, role="user", text="again", status=MessageStatus.COMPLETE)

    assert [talk.title for talk in await store.conversations.list()] == ["one", "three", "two"]
    assert [talk.title for talk in await store.conversations.list(limit=1)] == ["one"]


async def test_a_deleted_talk_takes_its_messages_along(store: Store) -> None:
    talk, other = [await store.conversations.create(title) for title in ("one", "two")]
    turn = await store.conversations.add_turn(
        talk.id, role="assistant", text="x", status=MessageStatus.STREAMING
    )
    kept = await store.conversations.add_turn(other.id, role="user", text="y", status=MessageStatus.COMPLETE)

    await store.conversations.delete(talk.id)

    assert [found.id for found in await store.conversations.list()] == [other.id]
    assert await store.conversations.turns(other.id) == [kept]
    with pytest.raises(NotFound):
        await store.conversations.finish_turn(turn.id, text="x", status=MessageStatus.COMPLETE, usage=USAGE)


async def test_a_deleted_talks_number_is_not_given_to_another(store: Store) -> None:
    talk = await store.conversations.create("secret")
    await store.conversations.delete(talk.id)

    assert (await store.conversations.create("new")).id != talk.id


async def test_a_message_that_was_streaming_when_the_runtime_ended_is_cut(store: Store) -> None:
    talk = await store.conversations.create("one")
    turn = await store.conversations.add_turn(
        talk.id, role="assistant", text="Half a", status=MessageStatus.STREAMING
    )

    await store.runs.recover("new")

    [found] = await store.conversations.turns(talk.id)
    assert (found.status, found.text) == (MessageStatus.CUT, "Half a")
    with pytest.raises(Conflict, match="is cut; it can't become complete"):
        await store.conversations.finish_turn(turn.id, text="x", status=MessageStatus.COMPLETE, usage=USAGE)


async def test_what_does_not_exist_is_named(store: Store) -> None:
    for missing in (
        store.conversations.get(9),
        store.conversations.turns(9),
        store.conversations.delete(9),
        store.conversations.add_turn(9, role="user", text="x", status=MessageStatus.COMPLETE),
        store.conversations.finish_turn(9, text="x", status=MessageStatus.CUT, usage=USAGE),
    ):
        with pytest.raises(NotFound, match=r"^There is no .*\.$"):
            await missing


async def test_a_fact_about_the_home_is_kept_and_replaced(store: Store) -> None:
    assert await store.meta.get("recovery code") is None
    await store.meta.set("recovery code", "shown")
    await store.meta.set("recovery code", "shown twice")

    assert await store.meta.get("recovery code") == "shown twice"
