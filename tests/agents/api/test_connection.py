"""Connections that say nothing, little by little, or half: nobody may hold the server up with them."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from agents.api import bodies
from agents.api.connection import ConnectionLimits
from engine.fakes import ScriptedEngine
from tests.agents.api.doors import MODEL, Door, door_for

CHAT = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hm?"}]}).encode()
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(door: Door) -> Connection:
    return await asyncio.open_connection("127.0.0.1", door.port)


async def end(connection: Connection) -> bytes:
    """All that still comes, until the server closes the connection."""
    reader, writer = connection
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def head(door: Door, *lines: str) -> bytes:
    first = ("POST /v1/chat/completions HTTP/1.1", "host: localhost", f"x-api-key: {door.key}")
    return "\r\n".join((*first, "content-type: application/json", *lines, "", "")).encode()


async def test_who_never_says_what_he_wants_is_closed_however_slowly_he_speaks() -> None:
    async with door_for(ScriptedEngine([]), limits=ConnectionLimits(head_s=0.3)) as door:
        silent, dripping = await connect(door), await connect(door)

        async def drip() -> None:
            for letter in b"GET /v1/models HTTP/1.1\r\nx: " + b"y" * 1000:
                dripping[1].write(bytes([letter]))
                await asyncio.sleep(0.02)

        drops = asyncio.create_task(drip())
        try:
            assert await end(silent) == b""
            assert await end(dripping) == b""
        finally:
            drops.cancel()


async def test_an_answer_may_take_longer_than_the_wait_for_a_request() -> None:
    engine = ScriptedEngine(["one two three four five"], delay_s=0.1)
    async with door_for(engine, limits=ConnectionLimits(head_s=0.2)) as door:
        connection = await connect(door)
        connection[1].write(head(door, f"content-length: {len(CHAT)}") + CHAT)
        answer = await end(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"five" in answer


async def test_beyond_the_limit_a_connection_is_closed_and_those_within_are_served() -> None:
    async with door_for(ScriptedEngine([]), limits=ConnectionLimits(connections=3)) as door:
        held = [await connect(door) for _ in range(2)]
        assert (await door.http.get("/health")).status_code == 200  # the third, which stays open
        assert await end(await connect(door)) == b""
        assert (await door.http.get("/health")).status_code == 200
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        further = await connect(door)
        further[1].write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert (await end(further)).startswith(b"HTTP/1.1 401")


async def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.2)
    async with door_for(ScriptedEngine([])) as door:
        connection = await connect(door)
        connection[1].write(head(door, "content-length: 100") + b"{")
        answer = await end(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive" in answer


async def test_a_caller_who_leaves_in_the_middle_of_his_body_is_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with door_for(ScriptedEngine([])) as door:
        _, writer = await connect(door)
        writer.write(head(door, "content-length: 100") + b"{")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        async with asyncio.timeout(5):
            while "/v1/chat/completions: 499" not in caplog.text:
                await asyncio.sleep(0.01)
    assert all(record.levelno < logging.WARNING for record in caplog.records)
