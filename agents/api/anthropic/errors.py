"""Errors in the shape of the Anthropic API."""

from __future__ import annotations

from typing import Any

from agents.api.answering import frame
from agents.api.refusals import Refusal

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(refusal: Refusal) -> dict[str, Any]:
    """{"type": "error", "error": {type, message}}."""
    kind = _TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": str(refusal)}}


def error_frame(refusal: Refusal) -> bytes:
    """In the middle of a stream: an event named error; nothing follows it."""
    return frame(error_body(refusal), event="error")
