"""Reads a JSON body into its model; whatever is wrong with it becomes one sentence that names the field."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from agents.api.refusals import Refusal, invalid

Model = TypeVar("Model", bound=BaseModel)
MAX_SHOWN_CHARS = 120


async def read_body(request: Request, kind: type[Model]) -> Model:
    """The body as `kind`. Raises Refusal (400). Size and content type were looked at before (guard.py)."""
    raw = await request.body()
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _refusal(error, raw) from None


def _refusal(error: ValidationError, raw: bytes) -> Refusal:
    details = error.errors(include_url=False, include_input=False, include_context=False)
    # Of a union each branch complains; the one that got deepest is the one that was meant.
    worst = max(details, key=lambda detail: len(detail["loc"]))
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
