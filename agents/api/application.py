"""The owner's application on the home's socket: routes that each call one function of the runtime, and the model APIs.

Bodies of the owner's routes are in agents/contract.py.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from agents import contract, views
from agents.api.agent_routes import add_agent_routes, add_due_time_routes
from agents.api.counting import Counted
from agents.api.dialects import answer_refusal, is_model_path
from agents.api.guard import Guard, Policy
from agents.api.model_door import add_model_routes, unrouted
from agents.api.parameters import Limit
from agents.api.refusals import Refusal, from_engine, internal
from agents.api.run_routes import add_run_routes
from agents.api.services import Services
from agents.errors import HearthError, NeedsConsent
from engine.errors import EngineError

log = logging.getLogger(__name__)

INTERNAL_PROBLEM = contract.Problem(
    code="internal", message="An internal error happened; the log names the place in the code."
)


def create_app(services: Services, *, version: str) -> ASGIApp:
    """The application for one runtime, behind its guard: on a socket that only its owner opens there is no key."""
    app = FastAPI(title="Hearth", version=version, docs_url=None, redoc_url=None)
    _add_errors(app)
    _add_house_routes(app, services)
    add_agent_routes(app, services)
    add_due_time_routes(app, services)
    add_run_routes(app, services)
    _add_chat_routes(app, services)
    add_model_routes(app, services)
    guard = Guard(app, policy=Policy(), answer=answer_refusal)
    return Counted(guard, metrics=services.metrics, all_paths=False)


def _add_house_routes(app: FastAPI, services: Services) -> None:
    @app.get("/v1/status")
    async def status() -> contract.Status:
        return await services.status()

    @app.get("/v1/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[contract.Event]:
        async for event in services.bus.subscribe():
            yield event

    @app.get("/v1/doctor")
    async def doctor() -> contract.DoctorReport:
        return await services.doctor()

    @app.post("/v1/engine/retry")
    async def retry_engine() -> contract.EngineInfo:
        return await services.retry_engine()

    @app.get("/v1/engine/models")
    async def loaded_models() -> list[contract.ModelInfo]:
        return services.loaded.list()

    @app.post("/v1/engine/models/{model_id:path}/unload")
    async def unload_model(model_id: str) -> contract.ModelInfo:
        return await services.loaded.unload(model_id)

    @app.get("/v1/recovery-code")
    async def recovery_code() -> contract.RecoveryCode:
        return await services.recovery_code()

    @app.post("/v1/recovery-code/shown", status_code=204)
    async def recovery_code_shown() -> None:
        await services.recovery_code_shown()

    @app.post("/v1/presence", status_code=204)
    async def report_presence(body: contract.Presence) -> None:
        await services.report_presence(body)

    @app.post("/v1/stop", status_code=202)
    async def stop() -> None:
        services.ask_to_stop()


def _add_chat_routes(app: FastAPI, services: Services) -> None:
    conversations = services.store.conversations

    @app.get("/v1/conversations")
    async def list_conversations(limit: Limit = 100) -> list[contract.ConversationInfo]:
        return [views.conversation_info(each) for each in await conversations.list(limit)]

    @app.get("/v1/conversations/{conversation_id}")
    async def show_conversation(conversation_id: contract.RowId) -> contract.ConversationDetail:
        conversation = await conversations.get(conversation_id)
        return views.conversation_detail(conversation, await conversations.turns(conversation_id))

    @app.delete("/v1/conversations/{conversation_id}", status_code=204)
    async def delete_conversation(conversation_id: contract.RowId) -> None:
        await conversations.delete(conversation_id)

    @app.post("/v1/chat", response_class=EventSourceResponse)
    async def chat(body: contract.ChatRequest) -> AsyncIterator[contract.ChatEvent]:
        try:
            async for event in services.chat.answer(body):
                yield event
        # The stream has begun with status 200, so every problem travels inside it.
        except (HearthError, EngineError) as error:
            yield contract.ChatFailed(error=_problem(error))
        except Exception as error:
            log.error("an answer failed with an unexpected error", exc_info=error)
            yield contract.ChatFailed(error=INTERNAL_PROBLEM)


def _problem(error: HearthError | EngineError) -> contract.Problem:
    details: dict[str, object] = dict(error.details) if isinstance(error, EngineError) else {}
    if isinstance(error, NeedsConsent):
        details["asks"] = list(error.asks)
    return contract.Problem(code=error.code, message=str(error), details=details)


def _answer(status: int, problem: contract.Problem) -> JSONResponse:
    return JSONResponse(contract.ErrorBody(error=problem).model_dump(mode="json"), status_code=status)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HearthError)
    async def hearth_error(_: Request, error: HearthError) -> Response:
        return _answer(error.http_status, _problem(error))

    @app.exception_handler(EngineError)
    async def engine_error(request: Request, error: EngineError) -> Response:
        if is_model_path(request.url.path):
            return answer_refusal(request.url.path, from_engine(error))
        return _answer(503, _problem(error))

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return answer_refusal(request.url.path, refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        message = f"{where or 'The request'}: {first['msg']}."
        return _answer(422, contract.Problem(code="invalid_request", message=message))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if is_model_path(request.url.path):
            return answer_refusal(request.url.path, unrouted(error))
        return _answer(error.status_code, contract.Problem(code="http", message=f"{error.detail}."))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        log.error("a request failed with an unexpected error", exc_info=error)
        if is_model_path(request.url.path):
            return answer_refusal(request.url.path, internal())
        return _answer(500, INTERNAL_PROBLEM)
