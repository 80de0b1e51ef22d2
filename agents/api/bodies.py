"""Reads a JSON body into its model; whatever is wrong with it becomes one sentence that names the field."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from agents.api.complaints import complaint
from agents.api.refusals import TOO_SLOW, Refusal, client_gone, invalid

Model = TypeVar("Model", bound=BaseModel)
BODY_TIMEOUT_S = 60.0
# Each value costs the event loop a microsecond or more, and nobody else is served meanwhile; text costs next to nothing.
MAX_VALUES = 200_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


async def read_body(request: Request, kind: type[Model]) -> Model:
    """The body as `kind`. Raises Refusal (400, 408). Size and content type were looked at before (guard.py)."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.body()
    except ClientDisconnect:
        raise client_gone() from None
    except TimeoutError:
        raise Refusal(
            TOO_SLOW, f"The body did not arrive within {BODY_TIMEOUT_S:.0f} seconds; send it again."
        ) from None
    if has_too_many_values(raw):
        raise invalid(f"The body has more than {MAX_VALUES:,} values; send less at once.")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise complaint(error.errors(include_url=False, include_input=False), raw) from None


def has_too_many_values(raw: bytes) -> bool:
    """Whether the JSON has more than MAX_VALUES values, told without making any of them."""
    # An opening quote never stands behind a backslash, so there are no more strings than these.
    if raw.count(b'"') - raw.count(b'\\"') > 4 * MAX_VALUES:
        return True
    return _n_marks(raw) > MAX_VALUES and _n_marks(_STRING.sub(b"", raw)) > MAX_VALUES


def _n_marks(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")
