"""Stands before every route: who may come in, from where, and with which kind of body. A pure ASGI layer.

On TCP the key is looked at before anything else of a request. A browser is never let in: it sends a foreign Host after a
DNS rebinding, an Origin from a page, and a form or plain text where it wants to avoid asking first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.api.listening import ApiKey
from agents.api.refusals import TOO_LARGE, Refusal

# The longest prompt that the engine takes, with every character escaped, and room for what stands around it.
MAX_BODY_BYTES = 32 * 1024 * 1024
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = "application/json"

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a listener asks of each request. A Unix socket that only its owner can open needs no key and no Host."""

    key: ApiKey | None = None
    hosts: frozenset[str] | None = None


class Guard:
    """Lets a request through to `app`, or answers it with what `answer` makes of the refusal for this path."""

    def __init__(self, app: ASGIApp, *, policy: Policy, answer: Callable[[str, Refusal], Response]) -> None:
        self._app = app
        self._policy = policy
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # not spoken here; closing before accepting is a 403
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refusal as refusal:
            response = self._answer(scope["path"], refusal)
            response.headers["Connection"] = (
                "close"  # else the server would go on to read a body that nobody wants
            )
            await response(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)

    def _check(self, scope: Scope) -> None:
        headers: Headers = list(scope["headers"])
        if self._policy.key is not None and not self._policy.key.opens(headers):
            raise Refusal(
                401,
                "The API key is missing or wrong; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.",
                code="invalid_api_key",
            )
        self._check_origin(headers)
        if scope["method"] in _WITH_BODY:
            _check_body(headers)

    def _check_origin(self, headers: Headers) -> None:
        if self._policy.hosts is not None:
            hosts = _values(headers, b"host")
            if len(hosts) != 1 or hosts[0].lower() not in self._policy.hosts:
                raise Refusal(403, "The Host is not this computer's own; use 127.0.0.1.", code="host_refused")
        if _values(headers, b"origin"):
            raise Refusal(
                403, "Web pages may not use this API; call it from a program.", code="origin_refused"
            )
        if any("websocket" in text.lower() for text in _values(headers, b"upgrade")):
            raise Refusal(403, "This API speaks plain HTTP alone.", code="upgrade_refused")


def _check_body(headers: Headers) -> None:
    lengths = _values(headers, b"content-length")
    has_body = bool(_values(headers, b"transfer-encoding")) or any(text != "0" for text in lengths)
    if not has_body:
        return
    kinds = [text.split(";")[0].strip().lower() for text in _values(headers, b"content-type")]
    if kinds != [_JSON]:
        raise Refusal(415, f"The body must be JSON; send it as `Content-Type: {_JSON}`.", code="not_json")
    if any(not (text.isascii() and text.isdigit()) or int(text) > MAX_BODY_BYTES for text in lengths):
        raise _too_large()


def _bounded(receive: Receive) -> Receive:
    """Counts what arrives of a body whose length nobody announced, or announced wrongly."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > MAX_BODY_BYTES:
                raise _too_large()
        return message

    return bounded


def _too_large() -> Refusal:
    return Refusal(
        TOO_LARGE,
        f"The body is larger than {MAX_BODY_BYTES // 2**20} MB; split the text.",
        code="body_too_large",
    )


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]
