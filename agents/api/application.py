"""The owner's application on the home's socket: routes that each call one function of the runtime, and the model APIs.

Bodies of the owner's routes are in agents/contract.py.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from agents import contract, views
from agents.api.counting import Counted
from agents.api.dialects import answer_refusal, is_model_path
from agents.api.guard import Guard, Policy
from agents.api.metrics import Metrics
from agents.api.model_door import add_model_routes, unrouted
from agents.api.refusals import Refusal, from_engine, internal
from agents.chat import Chat
from agents.core import RunStatus
from agents.errors import HearthError, NeedsConsent
from agents.events import EventBus
from agents.models.served import ServedModels
from agents.registry import Registry
from agents.runs.manager import RunManager
from agents.storage import Store
from engine.errors import EngineError

log = logging.getLogger(__name__)

Limit = Annotated[int, Query(ge=1, le=500)]
INTERNAL_PROBLEM = contract.Problem(
    code="internal", message="An internal error happened; the log names the place in the code."
)


class Services(Protocol):
    """What the routes need of the runtime."""

    store: Store
    bus: EventBus
    registry: Registry
    runs: RunManager
    chat: Chat
    models: ServedModels
    metrics: Metrics

    async def status(self) -> contract.Status: ...
    async def doctor(self) -> contract.DoctorReport: ...
    async def retry_engine(self) -> contract.EngineInfo: ...
    async def recovery_code(self) -> contract.RecoveryCode: ...
    async def recovery_code_shown(self) -> None: ...
    def ask_to_stop(self) -> None: ...


def create_app(services: Services, *, version: str) -> ASGIApp:
    """The application for one runtime, behind its guard: on a socket that only its owner opens there is no key."""
    app = FastAPI(title="Hearth", version=version, docs_url=None, redoc_url=None)
    _add_errors(app)
    _add_house_routes(app, services)
    _add_agent_routes(app, services)
    _add_run_routes(app, services)
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

    @app.get("/v1/recovery-code")
    async def recovery_code() -> contract.RecoveryCode:
        return await services.recovery_code()

    @app.post("/v1/recovery-code/shown", status_code=204)
    async def recovery_code_shown() -> None:
        await services.recovery_code_shown()

    @app.post("/v1/stop", status_code=202)
    async def stop() -> None:
        services.ask_to_stop()


def _add_agent_routes(app: FastAPI, services: Services) -> None:
    registry = services.registry

    @app.get("/v1/agents")
    async def list_agents() -> list[contract.AgentInfo]:
        return await registry.list_agents()

    @app.post("/v1/agents", status_code=201)
    async def add_agent(body: contract.AgentAdd) -> contract.AgentDetail:
        return await registry.add(body)

    @app.get("/v1/agents/{name}")
    async def show_agent(name: str) -> contract.AgentDetail:
        return await registry.show(name)

    @app.put("/v1/agents/{name}/folders")
    async def choose_folders(name: str, body: contract.FoldersChange) -> contract.AgentDetail:
        return await registry.choose_folders(name, body.folders)

    @app.delete("/v1/agents/{name}", status_code=204)
    async def remove_agent(name: str) -> None:
        await registry.remove(name)

    @app.post("/v1/agents/{name}/pause")
    async def pause_agent(name: str) -> contract.AgentInfo:
        return await registry.pause(name)

    @app.post("/v1/agents/{name}/resume")
    async def resume_agent(name: str) -> contract.AgentInfo:
        return await registry.resume(name)

    @app.post("/v1/agents/{name}/run")
    async def run_agent(name: str, body: contract.RunNow) -> contract.RunsStarted:
        return await registry.run_now(name, body.file)


def _add_run_routes(app: FastAPI, services: Services) -> None:
    store = services.store

    @app.get("/v1/runs")
    async def list_runs(
        agent: str | None = None,
        status: contract.RunStatusWord | None = None,
        limit: Limit = 50,
        before: contract.RowId | None = None,
    ) -> list[contract.RunInfo]:
        wanted = RunStatus(status) if status else None
        runs = await store.runs.list(agent=agent, status=wanted, limit=limit, before=before)
        return [views.run_info(run) for run in runs]

    @app.get("/v1/runs/{run_id}")
    async def show_run(run_id: contract.RowId) -> contract.RunDetail:
        run = await store.runs.get(run_id)
        revision = await store.agents.revision(run.revision_id)
        return views.run_detail(
            run,
            revision=revision.number,
            steps=await store.runs.steps(run_id),
            result=await store.runs.result_of(run_id),
        )

    @app.post("/v1/runs/{run_id}/cancel")
    async def cancel_run(run_id: contract.RowId) -> contract.RunInfo:
        return views.run_info(await services.runs.cancel(run_id))

    @app.get("/v1/results")
    async def list_results(
        agent: str | None = None, limit: Limit = 50, before: contract.RowId | None = None
    ) -> list[contract.ResultInfo]:
        results = await store.runs.results(agent=agent, limit=limit, before=before)
        return [views.result_info(result) for result in results]


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
