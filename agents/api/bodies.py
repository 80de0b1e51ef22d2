"""Reads a JSON body into its model; whatever is wrong with it becomes one sentence that names the field."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect

from agents.api.refusals import TOO_SLOW, Refusal, client_gone, invalid

Model = TypeVar("Model", bound=BaseModel)
MAX_SHOWN_CHARS = 120
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
        raise _refusal(error, raw) from None


def has_too_many_values(raw: bytes) -> bool:
    """Whether the JSON has more than MAX_VALUES values, told without making any of them."""
    # An opening quote never stands behind a backslash, so there are no more strings than these.
    if raw.count(b'"') - raw.count(b'\\"') > 4 * MAX_VALUES:
        return True
    return _n_marks(raw) > MAX_VALUES and _n_marks(_STRING.sub(b"", raw)) > MAX_VALUES


def _n_marks(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def _refusal(error: ValidationError, raw: bytes) -> Refusal:
    details = error.errors(include_url=False, include_input=False, include_context=False)
    # Of a union each branch complains; the one that got deepest is the one that was meant, and of two that got equally
    # far the one that liked the type at least.
    worst = max(details, key=lambda detail: (len(detail["loc"]), not detail["type"].endswith("_type")))
    if worst["type"] == "json_invalid":
        return invalid("The body is not valid JSON; send one JSON object.")
    param = _param(worst, raw)
    if worst["type"] == "extra_forbidden":
        return invalid(f"The field {param} is unknown here; leave it out.", param=param, code="unknown_field")
    message = worst["msg"][:1].lower() + worst["msg"][1:]
    return invalid(f"{param or 'The body'}: {message}.", param=param)


def _param(detail: ErrorDetails, raw: bytes) -> str | None:
    """The place in the caller's own words, such as `messages[0].content`: names of our union branches are left out."""
    value: Any = from_json(raw)
    place, last = "", len(detail["loc"]) - 1
    for index, part in enumerate(detail["loc"]):
        if isinstance(part, int):
            place += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict) and (part in value or (index == last and detail["type"] == "missing")):
            place += f".{part}" if place else part
            value = value.get(part)
    return place[:MAX_SHOWN_CHARS] or None
