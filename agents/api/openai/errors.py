"""Errors in the shape of the OpenAI API."""

from __future__ import annotations

from typing import Any

from agents.api.answering import frame
from agents.api.refusals import Refusal

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_body(refusal: Refusal) -> dict[str, Any]:
    """{"error": {message, type, param, code}}."""
    kind = "server_error" if refusal.status >= 500 else _TYPES.get(refusal.status, "invalid_request_error")
    return {"error": {"message": str(refusal), "type": kind, "param": refusal.param, "code": refusal.code}}


def error_frame(refusal: Refusal) -> bytes:
    """In the middle of a stream: the same object as an event; no [DONE] follows it."""
    return frame(error_body(refusal))
