"""The `Llama` class of llama-cpp-python as a contender: in its own process, one request after the other.

Runs in: the benchmark's process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from engine.bench.child import Child
from engine.bench.core import Answer, BenchFailed, PeerUnavailable
from engine.core import JsonSchema, Request


class LlamaClass:
    """What somebody gets who writes a Python program with the high-level class."""

    name = "llama-cpp-python"
    concurrent = False

    def __init__(self, *, model: Path, n_ctx: int, n_threads: int, folder: Path) -> None:
        self._command = [
            sys.executable, "-P", "-m", "engine.llama.high_level", str(model), str(n_ctx), str(n_threads),
        ]  # fmt: skip
        self._log = folder / "llama-cpp-python.log"
        self._child: Child | None = None
        self._turn = asyncio.Lock()

    async def open(self, *, n_parallel: int) -> None:
        if self._child is not None:
            return
        self._child = await Child.start(self._command, log=self._log, talks=True)
        try:
            await self._hear(self._child)
        except BenchFailed as error:
            raise PeerUnavailable(str(error)) from error

    async def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def answer(self, request: Request) -> Answer:
        async with self._turn:
            if self._child is None:
                raise BenchFailed("llama-cpp-python was asked before it was opened.")
            started = time.perf_counter()
            reply = await self._ask(self._child, as_line(request))
            return Answer(**reply, wall_s=time.perf_counter() - started)

    async def first_token_s(self, request: Request) -> float:
        raise BenchFailed("llama-cpp-python is measured by whole answers only.")

    async def settle(self) -> None:
        """An answer that was heard is the end of its work."""

    async def _ask(self, child: Child, line: bytes) -> dict[str, Any]:
        assert child.process.stdin is not None
        child.process.stdin.write(line)
        await child.process.stdin.drain()
        return await self._hear(child)

    async def _hear(self, child: Child) -> dict[str, Any]:
        assert child.process.stdout is not None
        line = await child.process.stdout.readline()
        if not line:
            raise BenchFailed(f"llama-cpp-python's process ended: {child.last_words()}.")
        reply: dict[str, Any] = json.loads(line)
        return reply


def as_line(request: Request) -> bytes:
    """The request as high_level.py reads it."""
    constraint = request.constraint
    asked = {
        "prompt": request.prompt,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "max_tokens": request.sampling.max_tokens,
        "temperature": request.sampling.temperature,
        "schema": dict(constraint.schema) if isinstance(constraint, JsonSchema) else None,
    }
    return json.dumps(asked).encode() + b"\n"
