"""An agent with gates, and a web server on this computer that counts who comes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agents.core import Agent, AgentDefinition, AgentKind
from agents.triggers import Gate

Answer = Callable[[dict[str, str], asyncio.StreamWriter], Awaitable[None]]


def agent_with(
    *gates: Gate,
    read_folders: tuple[Path, ...] = (),
    hosts: tuple[str, ...] = (),
    commands: tuple[tuple[str, ...], ...] = (),
) -> Agent:
    definition = AgentDefinition(
        name="Watcher",
        description="Looks.",
        kind=AgentKind.WRITE,
        triggers=(),
        read_folders=read_folders,
        gates=gates,
        hosts=hosts,
        commands=commands,
    )
    return Agent(
        id=1,
        revision_id=1,
        revision=1,
        paused=False,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        source="",
        definition=definition,
    )


@dataclass
class WebServer:
    """`requests` are the headers of each, in lower case, with `:path`; `connections` counts those that said nothing too."""

    answer: Answer
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)

    def url(self, path: str = "/", *, host: str | None = None, scheme: str = "http") -> str:
        return f"{scheme}://{host or self.host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {":path": lines[0].split(" ")[1]}
            for line in lines[1:]:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            self.requests.append(headers)
            await self.answer(headers, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    answer: Answer, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WebServer]:
    web = WebServer(answer=answer, host=host)
    server = await asyncio.start_server(web.serve, host, port, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()


def reply(status: str, body: bytes = b"", **headers: str) -> Answer:
    """The same answer to everybody."""

    async def answer(_: dict[str, str], writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return answer
