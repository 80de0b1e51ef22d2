"""llama-server as a contender: a process of its own, asked over HTTP with a new connection each time.

Runs in: the benchmark's process, event loop thread only; the peer in a process group of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from engine.bench.child import Child
from engine.bench.core import Answer, BenchFailed, PeerUnavailable
from engine.core import JsonSchema, Request

START_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 600.0
SETTLE_TIMEOUT_S = 300.0  # a batch of 2,048 tokens on a busy machine comes first
_POLL_S = 0.02
EMBEDDING_SETTINGS = ("--embedding", "--batch-size", "2048", "--ubatch-size", "2048")


class LlamaServer:
    """One llama-server with the settings that suit it best: batching, one KV cache for all slots, as many threads as ours."""

    name = "llama-server"
    concurrent = True

    def __init__(
        self,
        *,
        program: Path,
        model: Path,
        n_ctx: int,
        n_threads: int,
        folder: Path,
        extra: tuple[str, ...] = (),
    ) -> None:
        self._program = program
        self._model = model
        self._n_ctx = n_ctx
        self._n_threads = n_threads
        self._log = folder / f"llama-server-{model.stem}.log"
        self._extra = extra
        self._child: Child | None = None
        self._n_parallel = 0
        # llama-server closes idle connections: none is kept
        self._http = httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S),
            trust_env=False,
        )

    async def open(self, *, n_parallel: int) -> None:
        if self._child is not None and n_parallel == self._n_parallel:
            return
        await self._end()
        port = free_port()
        self._http.base_url = httpx2.URL(f"http://127.0.0.1:{port}")
        self._n_parallel = n_parallel
        self._child = await Child.start(self._command(port), log=self._log)
        await self._wait_until_up(self._child)

    async def close(self) -> None:
        await self._end()
        await self._http.aclose()

    async def answer(self, request: Request) -> Answer:
        path, body = as_http(request, stream=False)
        started = time.perf_counter()
        reply = await self._post(path, body)
        wall_s = time.perf_counter() - started
        return read_answer(path, reply, wall_s)

    async def first_token_s(self, request: Request) -> float:
        path, body = as_http(request, stream=True)
        started = time.perf_counter()
        async with self._sentences(), self._http.stream("POST", path, json=body) as response:
            if response.status_code != httpx2.codes.OK:
                raise BenchFailed(f"llama-server answered a question with status {response.status_code}.")
            async for line in response.aiter_lines():
                if has_text(line):
                    return time.perf_counter() - started
        raise BenchFailed("llama-server ended an answer before its first text.")

    async def embed(self, texts: Sequence[str]) -> None:
        """For a server that was started with EMBEDDING_SETTINGS."""
        await self._post("/v1/embeddings", {"input": list(texts), "encoding_format": "base64"})

    async def settle(self) -> None:
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            async with self._sentences():
                slots = (await self._http.get("/slots")).json()
            if not any(slot["is_processing"] for slot in slots):
                return
            if time.monotonic() > deadline:
                raise BenchFailed("llama-server did not come to rest after a measurement.")
            await asyncio.sleep(_POLL_S)

    def _command(self, port: int) -> list[str]:
        return [
            str(self._program), "--model", str(self._model), "--host", "127.0.0.1", "--port", str(port),
            "--ctx-size", str(self._n_ctx), "--parallel", str(self._n_parallel), "--kv-unified", "--cont-batching",
            "--threads", str(self._n_threads), "--no-ui", *self._extra,
            # no copies of finished prompts outside the slots: they cost time and no row here would find one again
            "--cache-ram", "0",
        ]  # fmt: skip

    async def _wait_until_up(self, child: Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if child.ended:
                raise PeerUnavailable(
                    f"llama-server ({self._program}) ended at its start: {child.last_words()}; "
                    "build one with `make bench-peer`."
                )
            try:
                if (await self._http.get("/health", timeout=2.0)).status_code == httpx2.codes.OK:
                    return
            except httpx2.HTTPError:
                pass  # not listening yet
            await asyncio.sleep(_POLL_S)
        raise PeerUnavailable(f"llama-server ({self._program}) was not ready within {START_TIMEOUT_S:.0f} s.")

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._sentences():
            response = await self._http.post(path, json=body)
        if response.status_code != httpx2.codes.OK:
            raise BenchFailed(
                f"llama-server answered with status {response.status_code}: {response.text[:200]}"
            )
        reply: dict[str, Any] = response.json()
        return reply

    @asynccontextmanager
    async def _sentences(self) -> AsyncIterator[None]:
        try:
            yield
        except httpx2.HTTPError as error:
            raise BenchFailed(f"llama-server can't be asked ({type(error).__name__}).") from error


def as_http(request: Request, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """The request as llama-server takes it: its path and its body. It has no priorities and no named prefixes."""
    sampling = request.sampling
    body: dict[str, Any] = {"temperature": sampling.temperature, "stream": stream}
    if request.prompt is not None:
        return "/completion", {**body, "prompt": request.prompt, "n_predict": sampling.max_tokens}
    body["messages"] = [{"role": turn.role, "content": turn.content} for turn in request.messages]
    body["max_tokens"] = sampling.max_tokens
    if isinstance(request.constraint, JsonSchema):
        schema = {"name": "answer", "strict": True, "schema": dict(request.constraint.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return "/v1/chat/completions", body


def read_answer(path: str, reply: dict[str, Any], wall_s: float) -> Answer:
    """What came back, from either of the two paths."""
    if path == "/completion":
        return Answer(
            text=reply["content"],
            tokens=reply["tokens_predicted"],
            wall_s=wall_s,
            cut=reply["stop_type"] == "limit",
        )
    choice = reply["choices"][0]
    return Answer(
        text=choice["message"]["content"] or "",
        tokens=reply["usage"]["completion_tokens"],
        wall_s=wall_s,
        cut=choice["finish_reason"] == "length",
    )


def has_text(line: str) -> bool:
    """Whether a line of a stream of events brings text."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return False
    event = json.loads(line.removeprefix("data:"))
    if "choices" in event:
        return any(choice.get("delta", {}).get("content") for choice in event["choices"])
    return bool(event.get("content"))


def free_port() -> int:
    """A port of the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
