"""A runtime of its own process on a home that was made for the measurement, and what the system and its socket tell of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from agents.bench.core import BenchFailed
from agents.paths import HomePaths

START_LIMIT_S = 120.0
STOP_LIMIT_S = 40.0
LOOK_S = 0.01


class _SocketConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("hearth", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Child:
    """One running runtime."""

    def __init__(self, pid: int, paths: HomePaths, start_s: float) -> None:
        self._paths = paths
        self._process = psutil.Process(pid)
        self.start_s = start_s  # until it answered

    def get(self, route: str) -> Any:
        return get(self._paths, route)

    def cpu_s(self) -> float:
        """Of the runtime, without its engine."""
        times = self._process.cpu_times()
        return times.user + times.system

    def rss_bytes(self) -> int:
        """Of the runtime, without its engine."""
        return int(self._process.memory_info().rss)

    def engine_rss_bytes(self) -> int:
        return sum(child.memory_info().rss for child in self._process.children(recursive=True))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Child]:
    """The runtime of the home in `folder`, from its start until it answers; ended at the end."""
    paths = HomePaths(folder / "home")
    command = [sys.executable, "-P", "-m", "agents", f"--home={paths.root}", f"--key-file={folder / 'key'}"]
    began_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await _until_it_answers(process, paths, began_s + START_LIMIT_S)
        yield Child(process.pid, paths, time.monotonic() - began_s)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.communicate(), STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_it_answers(process: asyncio.subprocess.Process, paths: HomePaths, deadline_s: float) -> None:
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(get, paths, "/v1/status")
            return
        if process.returncode is not None:
            said = (await process.communicate())[1].decode(errors="replace").strip().splitlines()
            raise BenchFailed(f"The runtime did not start: {said[-1] if said else 'it said nothing'}")
        await asyncio.sleep(LOOK_S)
    raise BenchFailed(f"The runtime did not answer within {START_LIMIT_S:.0f} s.")


def get(paths: HomePaths, route: str) -> Any:
    """The answer of a running runtime. Raises OSError while none listens, BenchFailed when it refuses."""
    connection = _SocketConnection(paths.socket)
    try:
        connection.request("GET", route)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise BenchFailed(f"The runtime answered {route} with {answer.status}.")
    return json.loads(body)
