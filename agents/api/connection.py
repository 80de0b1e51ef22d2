"""One connection to a server of ours: there is a limited number of them, and each has to say in time what it wants.

Runs in: the runtime's event loop. Anybody on this computer can connect, also without the key. A connection costs a
descriptor of the process that also keeps the database, so nobody may hold them all.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What one server grants its callers."""

    connections: int = 256
    head_s: float = 10.0  # from the connection, or the answer before, to the end of a request's headers


class BoundedConnection(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, within limits. Further connections are closed unheard."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            log.warning("a connection was closed unheard: %d are open", self._limits.connections)
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._expect_head()

    def _expect_head(self) -> None:
        self._forget_timer()
        self._head_timer = self.loop.call_later(self._limits.head_s, self._too_late)

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:  # else its end begins the next wait
            self.transport.abort()
