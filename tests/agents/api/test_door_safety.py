"""Who is let in at the TCP door: keys, Hosts, Origins, bodies; and which addresses it listens on at all."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import psutil
import pytest

from agents.api.guard import MAX_BODY_BYTES
from agents.api.listening import ListenOptions, open_door, parse_address, read_or_make_key
from agents.errors import ListenProblem, UsageProblem
from engine.fakes import ScriptedEngine
from tests.agents.api.doors import MODEL, Door, door_for

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hm?"}]}
ROUTES = [
    ("GET", "/v1/models"),
    ("GET", f"/v1/models/{MODEL}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/status"),
    ("POST", "/v1/stop"),
    ("GET", "/nothing"),
    ("OPTIONS", "/v1/chat/completions"),
]


async def raw(
    door: Door, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, str]:
    """Status and body of a request whose headers may be ones that no client library would send."""
    lines = {
        "host": f"127.0.0.1:{door.port}",
        "content-length": str(len(body)),
        "connection": "close",
        **headers,
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


def key_headers(key: str) -> list[dict[str, str]]:
    return [
        {"authorization": f"Bearer {key}"},
        {"authorization": key},
        {"authorization": f"Basic {key}"},
        {"x-api-key": key},
    ]


async def test_every_route_needs_the_key_in_every_form() -> None:
    async with door_for(ScriptedEngine([])) as door:
        wrong = [{}]
        for bad in ("", " ", door.key[:-1], door.key + "x", door.key.swapcase(), "wrong"):
            wrong += key_headers(bad)
        wrong += [
            {"authorization": door.key},
            {"authorization": f"Basic {door.key}"},
            {"authorization": "Bearer wrong", "x-api-key": door.key},
            {"authorization": f"Bearer {door.key}", "x-api-key": "wrong"},
            {"cookie": f"key={door.key}"},
        ]
        for method, path in ROUTES:
            for headers in wrong:
                status, body = await raw(door, method, path, headers)
                assert status == 401, (method, path, headers)
                assert json.loads(body)["error"]["type"] == "authentication_error"
            assert (await raw(door, method, f"{path}?key={door.key}&api_key={door.key}", {}))[0] == 401
            for headers in ({"authorization": f"bearer {door.key}"}, {"x-api-key": door.key}):
                assert (await raw(door, method, path, headers))[0] != 401, (method, path)
        assert door.engine.requests == []


async def test_without_the_key_nothing_else_of_a_request_is_looked_at() -> None:
    async with door_for(ScriptedEngine([])) as door:
        for headers in ({"host": "evil.com"}, {"origin": "https://evil.com"}, {"content-type": "text/plain"}):
            assert (await raw(door, "POST", "/v1/chat/completions", headers, b"x"))[0] == 401


async def test_the_owners_routes_are_not_at_the_door() -> None:
    owners = (
        "/v1/status", "/v1/events", "/v1/agents", "/v1/runs", "/v1/results", "/v1/conversations", "/v1/doctor",
        "/v1/recovery-code", "/v1/stop", "/v1/chat", "/v1/engine/retry", "/openapi.json", "/docs",
    )  # fmt: skip
    async with door_for(ScriptedEngine([])) as door:
        for path in owners:
            for method in ("GET", "POST"):
                assert (await door.http.request(method, path)).status_code == 404, path


async def test_only_this_computers_own_names_are_taken_as_host() -> None:
    async with door_for(ScriptedEngine([])) as door:
        right = [
            f"{host}{port}" for host in ("127.0.0.1", "localhost", "[::1]") for port in ("", f":{door.port}")
        ]
        wrong = [
            "evil.com", f"evil.com:{door.port}", "hearth.local", "192.168.1.5", f"192.168.1.5:{door.port}", "0.0.0.0",  # noqa: S104
            f"0.0.0.0:{door.port}", "127.0.0.1.evil.com", f"localhost:{door.port + 1}", "localhost.", "127.1", "",
            f"user@127.0.0.1:{door.port}", "::1", "127.0.0.1:", "[::ffff:127.0.0.1]",
        ]  # fmt: skip
        for host in right:
            assert (await door.http.get("/health", headers={"host": host})).status_code == 200, host
        for host in wrong:
            assert (await door.http.get("/health", headers={"host": host})).status_code == 403, host


@pytest.mark.parametrize(
    "origin", ["https://evil.com", "null", "http://localhost:3000", "file://", "", "app://x"]
)
async def test_no_web_page_is_let_in(origin: str) -> None:
    async with door_for(ScriptedEngine([])) as door:
        for method in ("POST", "OPTIONS"):
            answer = await door.http.request(
                method, "/v1/chat/completions", json=CHAT, headers={"origin": origin}
            )
            assert answer.status_code == 403
            assert [name for name in answer.headers if name.startswith("access-control-")] == []
        assert door.engine.requests == []


async def test_a_websocket_upgrade_is_refused() -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with door_for(ScriptedEngine([])) as door:
        assert (await door.http.get("/v1/models", headers=upgrade)).status_code == 403


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonp",
    ],
)
async def test_a_body_that_is_no_json_is_refused_without_effect(kind: str) -> None:
    async with door_for(ScriptedEngine([])) as door:
        for path in ("/v1/chat/completions", "/v1/messages"):
            answer = await door.http.post(path, content=json.dumps(CHAT), headers={"content-type": kind})
            assert answer.status_code == 415
        assert door.engine.requests == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused_before_it_has_come_or_while_it_comes(
    announced: bool,
) -> None:
    def send(door: Door) -> bytes:
        head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-api-key: {door.key}\r\ncontent-type: application/json"
        with socket.create_connection(("127.0.0.1", door.port)) as line:
            if announced:
                line.sendall(f"{head}\r\ncontent-length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
            else:
                line.sendall(f"{head}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
                for _ in range(MAX_BODY_BYTES // 2**20):
                    line.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")
                line.sendall(b"1\r\n \r\n")
            return b"".join(iter(lambda: line.recv(4096), b""))  # until the door closes the connection

    async with door_for(ScriptedEngine([])) as door:
        answer = await asyncio.to_thread(send, door)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in answer


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8080", "[::]:8080", "192.168.1.5:8080", "example.com:80", "127.0.0.1", "8080", "127.0.0.1:x",
                "127.0.0.1:65536", ":8080", "", "127.0.0.2:80", "[fe80::1]:80", "[::ffff:127.0.0.1]:80", "127.0.0.1:-1"]
)  # fmt: skip
def test_an_address_that_others_could_reach_is_refused(address: str) -> None:
    with pytest.raises(UsageProblem, match=r"127\.0\.0\.1:PORT"):
        parse_address(address)


def test_the_door_listens_on_loopback_and_nowhere_else(tmp_path: Path) -> None:
    before = listeners()
    for address in ("127.0.0.1:0", "localhost:0"):
        door = open_door(ListenOptions(address=address), home_key_file=tmp_path / "key")
        try:
            assert listeners() - before == {("127.0.0.1", door.address.port)}
        finally:
            door.listener.close()


def listeners() -> set[tuple[str, int]]:
    connections = psutil.Process().net_connections("inet")
    return {tuple(each.laddr) for each in connections if each.status == psutil.CONN_LISTEN}  # type: ignore[misc]


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenProblem, match="in use.*--listen"):
            open_door(ListenOptions(address=address), home_key_file=tmp_path / "key")


def test_a_missing_key_is_made_private_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "api.key"
    old = os.umask(0)
    try:
        made = read_or_make_key(file)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    assert len(key) >= 40
    assert made.opens([(b"x-api-key", key.encode())])
    assert read_or_make_key(file).opens([(b"authorization", f"Bearer {key}".encode())])
    assert key not in repr(made)


@pytest.mark.parametrize(
    "text",
    ["", "short", "x" * 5000, "two words in a long line", "key with ü" * 4, "a" * 20 + "\n" + "b" * 20],
)
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "api.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(UsageProblem, match="holds no key"):
        read_or_make_key(file)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "api.key"
    file.write_text("k" * 40)
    for mode in (0o644, 0o640, 0o620, 0o604):
        file.chmod(mode)
        with pytest.raises(UsageProblem, match="chmod 600"):
            read_or_make_key(file)


def test_a_key_file_that_is_none_or_can_not_be_made_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for file in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageProblem, match="not a file|can't be read"):
            read_or_make_key(file)
    with pytest.raises(UsageProblem, match="can't be made"):
        read_or_make_key(tmp_path / "nowhere" / "key")


async def test_an_accepted_connection_sends_each_word_at_once(tmp_path: Path) -> None:
    door = open_door(ListenOptions(address="127.0.0.1:0"), home_key_file=tmp_path / "key")
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = writer.get_extra_info("socket")
        accepted.set_result(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(note, sock=door.listener):
        _, writer = await asyncio.open_connection("127.0.0.1", door.address.port)
        assert await asyncio.wait_for(accepted, 5)
        writer.close()
        await writer.wait_closed()
