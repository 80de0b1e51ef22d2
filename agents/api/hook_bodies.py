"""Reads what a program sends to a hook: any JSON, within bounds, or nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from agents.errors import UsageProblem

MAX_HOOK_BYTES = 65_536
BODY_TIMEOUT_S = 10.0


async def read_hook_body(request: Request) -> Any:
    """The JSON value; None for an empty body. Raises UsageProblem, and stops reading at the limit."""
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_HOOK_BYTES:
                    raise UsageProblem(f"A hook takes {MAX_HOOK_BYTES:,} bytes at most; send less.")
    except (TimeoutError, ClientDisconnect):
        raise UsageProblem("The body did not arrive in time; send it again.") from None
    if not raw.strip():
        return None
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise UsageProblem("The body is not JSON; send JSON, or nothing.") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which JSON does not know
