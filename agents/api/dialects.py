"""Which API a path belongs to, and with it the shape of an error."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from agents import contract
from agents.api.anthropic.errors import error_body as anthropic_error
from agents.api.openai.errors import error_body as openai_error
from agents.api.refusals import PROMPT, Refusal

OPENAI_PATHS = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
ANTHROPIC_PATHS = ("/v1/messages",)
PROMPT_FIELDS = {"/v1/completions": "prompt", "/v1/responses": "input"}
MODEL_ROUTES = frozenset({*OPENAI_PATHS, *ANTHROPIC_PATHS, "/v1/messages/count_tokens"})


def is_model_path(path: str) -> bool:
    """Whether a path belongs to a model API, also where it has no such route."""
    return _under(path, OPENAI_PATHS + ANTHROPIC_PATHS)


def answer_refusal(path: str, refusal: Refusal) -> Response:
    """An error on the owner's socket: the house's own shape, but for the model routes."""
    if not is_model_path(path):
        problem = contract.Problem(code=refusal.code or "http", message=str(refusal))
        body = contract.ErrorBody(error=problem).model_dump(mode="json")
        return JSONResponse(body, status_code=refusal.status, headers=refusal.headers)
    return answer_model_refusal(path, refusal)


def answer_model_refusal(path: str, refusal: Refusal) -> Response:
    """An error on the TCP door, where every path is a model route or none."""
    make = anthropic_error if _under(path, ANTHROPIC_PATHS) else openai_error
    if refusal.param == PROMPT:
        refusal.param = PROMPT_FIELDS.get(path, PROMPT)
    return JSONResponse(make(refusal), status_code=refusal.status, headers=refusal.headers)


def _under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)
