"""Counts and logs each answered request of the model API. A pure ASGI layer around the guard."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.api.callers import AGENT_HEADER, AGENT_NAME
from agents.api.dialects import MODEL_ROUTES
from agents.api.metrics import Metrics

log = logging.getLogger(__name__)

OTHER_PATH = "other"


class Counted:
    """Tells the metrics and the log the route, the status and the name that the caller gives itself."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, all_paths: bool) -> None:
        """Without `all_paths`, only model routes count: the owner's own clients ask for status all day."""
        self._app = app
        self._metrics = metrics
        self._all_paths = all_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (self._all_paths or path in MODEL_ROUTES):
            await self._app(scope, receive, send)
            return
        status = 0
        started_at = time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = path if path in MODEL_ROUTES else OTHER_PATH
            name = Headers(scope=scope).get(AGENT_HEADER, "")
            agent = name if AGENT_NAME.fullmatch(name) else None
            self._metrics.api_request(route, status, agent)
            log.info("%s: %d in %.2f s for %s", route, status, time.monotonic() - started_at, agent or "-")
