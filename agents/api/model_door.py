"""The application for other programs on this computer, served over TCP: models, metrics and health, and nothing else."""

from __future__ import annotations

import logging
from typing import Protocol

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from agents.api.anthropic.routes import anthropic_routes
from agents.api.counting import Counted
from agents.api.desk import Desk
from agents.api.dialects import answer_model_refusal
from agents.api.guard import Guard, Policy
from agents.api.listening import Address, ApiKey
from agents.api.metrics import CONTENT_TYPE, Metrics
from agents.api.openai.routes import openai_routes
from agents.api.refusals import Refusal, from_engine, internal
from agents.models.served import ServedModels
from engine.errors import EngineError

log = logging.getLogger(__name__)


class ModelServices(Protocol):
    """What the model routes need of the runtime."""

    models: ServedModels
    metrics: Metrics


def add_model_routes(app: FastAPI, services: ModelServices) -> None:
    """The routes that both the owner's socket and the TCP door have."""
    desk = Desk(services.models)
    app.include_router(openai_routes(desk))
    app.include_router(anthropic_routes(desk))

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(await services.metrics.render(), media_type=CONTENT_TYPE)

    @app.get("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}


def create_model_door(services: ModelServices, *, version: str, address: Address, key: ApiKey) -> ASGIApp:
    """The application behind its guard."""
    app = FastAPI(
        title="Hearth models",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # what does not exist is a 404 in the API's shape
    )
    add_model_routes(app, services)
    _add_errors(app)
    guard = Guard(app, policy=Policy(key=key, hosts=address.hosts), answer=answer_model_refusal)
    return Counted(guard, metrics=services.metrics, all_paths=True)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return answer_model_refusal(request.url.path, refusal)

    @app.exception_handler(EngineError)
    async def engine_error(request: Request, error: EngineError) -> Response:
        return answer_model_refusal(request.url.path, from_engine(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return answer_model_refusal(request.url.path, unrouted(error))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        log.error("a model request failed with an unexpected error", exc_info=error)
        return answer_model_refusal(request.url.path, internal())


def unrouted(error: HTTPException) -> Refusal:
    """No such route, or not with this method, in words."""
    words = {404: "There is no such route", 405: "This route does not take that method"}
    return Refusal(error.status_code, f"{words.get(error.status_code, error.detail)}.")
