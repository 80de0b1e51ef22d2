"""Reads what a program sends to a hook: any JSON, within bounds, or nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from agents.errors import UsageProblem

MAX_HOOK_BYTES = 65_536
MAX_HOOK_LEVELS = 100  # a run tells its model about each level
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
        value = json.loads(raw)
        # What Python takes and JSON does not know: NaN, numbers beyond a float's range, half of a surrogate pair.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise UsageProblem("The body is not JSON; send JSON, or nothing.") from None
    if _is_deeper(value, MAX_HOOK_LEVELS):
        raise UsageProblem(f"A hook takes {MAX_HOOK_LEVELS} levels of JSON at most; send it flatter.")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other more often than that."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
