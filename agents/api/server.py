"""Serves an application on a bound socket: the home's own, or the TCP door. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from agents.api.connection import BoundedConnection, ConnectionLimits
from agents.errors import HomeProblem


def bind_socket(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may open. The caller holds the home's lock: an old file is stale."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            server.bind(os.fspath(path))
        finally:
            os.umask(mask)
        server.listen(128)
    except OSError as error:
        server.close()
        raise HomeProblem(
            f"The socket {path} can't be made ({error.strerror}); name another home with --home."
        ) from error
    server.setblocking(False)
    return server


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the runtime stops in its own order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """One HTTP server for one app."""

    def __init__(
        self, app: ASGIApp, listener: socket.socket, *, limits: ConnectionLimits | None = None
    ) -> None:
        connection = partial(BoundedConnection, limits=limits or ConnectionLimits())
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", connection),  # only ever called, as a class would be
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once requests are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="api")
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)

    async def stop(self, timeout_s: float) -> None:
        """Lets answers in flight end for a moment, then closes every connection."""
        self._server.should_exit = True
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=timeout_s)
            if not done:
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=1.0)
        self._listener.close()
