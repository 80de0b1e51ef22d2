"""Whether what a web address serves has changed since the gate last let a run through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass

from agents.gates.finding import Finding
from agents.triggers import UrlGate

MAX_ETAG_CHARS = 1_000  # a longer one is not used


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a server answered. `body` is None when it said "not modified", and when its ETag tells enough."""

    etag: str | None
    body: bytes | None


class FetchProblem(Exception):
    """str() is one line for the user: why the page can't be compared."""


Fetch = Callable[[str, Collection[str], str | None], Awaitable[Page]]
"""Asks for a URL; given are the granted hosts and the ETag that is known. Raises FetchProblem."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """What the page was like: by its ETag, or by a hash of its body."""

    etag: str | None = None
    sha256: str | None = None


async def check_url(gate: UrlGate, state: str | None, *, hosts: Collection[str], fetch: Fetch) -> Finding:
    """Open at the first check. A server that is down or says anything but 200 or 304 keeps the gate closed."""
    before = _parse(state)
    try:
        page = await fetch(gate.url, hosts, before.etag if before is not None else None)
    except FetchProblem as error:
        return Finding(is_open=False, detail=str(error))
    if page.body is None and page.etag is None:  # "not modified"
        return Finding(is_open=False, detail="the page has not changed", state=state)
    after = _state_of(page)
    text = json.dumps(asdict(after), separators=(",", ":"))
    if before == after:
        return Finding(is_open=False, detail="the page has not changed", state=text)
    detail = "first look at the page" if before is None else "the page has changed"
    return Finding(is_open=True, detail=detail, state=text)


def _state_of(page: Page) -> _State:
    if page.body is None:
        return _State(etag=page.etag)
    return _State(sha256=hashlib.sha256(page.body).hexdigest())


def _parse(state: str | None) -> _State | None:
    """None also for what an older version wrote otherwise: then the gate opens once more than it had to."""
    try:
        values = json.loads(state or "")
        return _State(etag=values["etag"], sha256=values["sha256"])
    except (ValueError, KeyError, TypeError):
        return None
