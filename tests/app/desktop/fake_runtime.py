"""A stand-in runtime that speaks the contract on a real Unix socket: its state is set by the test, its events too."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from agents.contract import (
    AgentAdd,
    AgentChanged,
    AgentDetail,
    AgentInfo,
    AgentsSwitch,
    AgentsSwitched,
    ChatMessage,
    ChatRequest,
    ConversationDetail,
    ConversationInfo,
    DueTime,
    EngineInfo,
    Event,
    FoldersChange,
    OccurrenceDetail,
    OccurrenceInfo,
    Presence,
    Replay,
    ResultInfo,
    RevisionInfo,
    RunChanged,
    RunDetail,
    RunInfo,
    RunNow,
    RunsStarted,
    Status,
    StepInfo,
    Stopping,
    SwitchChanged,
)
from agents.paths import HomePaths

START = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


def an_agent(name: str = "Document digest", **changes: Any) -> AgentInfo:
    values: dict[str, Any] = {
        "description": "Reads new documents and writes down what matters.",
        "kind": "digest",
        "paused": False,
        "revision": 1,
        "folders": ["/home/me/Inbox"],
        "patterns": ["*.txt", "*.md", "*.pdf"],
    }
    return AgentInfo(name=name, **values | changes)


def a_run(run_id: int = 1, **changes: Any) -> RunInfo:
    values: dict[str, Any] = {
        "agent": "Document digest",
        "trigger": "file_changed",
        "status": "succeeded",
        "file": f"/home/me/Inbox/note-{run_id}.md",
        "due_at": START,
        "created_at": START,
        "started_at": START,
        "finished_at": START + timedelta(seconds=12),
        "tokens": 512,
        "tokens_per_s": 88.0,
    }
    return RunInfo(id=run_id, **values | changes)


def a_step(seq: int = 1, **changes: Any) -> StepInfo:
    values: dict[str, Any] = {
        "kind": "model",
        "title": "Summarise the document",
        "status": "succeeded",
        "started_at": START,
        "finished_at": START + timedelta(seconds=5),
        "prompt_tokens": 412,
        "completion_tokens": 96,
        "tokens_per_s": 88.0,
    }
    return StepInfo(seq=seq, **values | changes)


def a_result(result_id: int = 1, **changes: Any) -> ResultInfo:
    values: dict[str, Any] = {
        "run_id": result_id,
        "agent": "Document digest",
        "file": f"/home/me/Inbox/note-{result_id}.md",
        "title": f"Result {result_id}",
        "summary": "The roof of the workshop is repaired before winter.",
        "action_items": ["Ask Lena for a second quote"],
        "category": "notes",
        "created_at": START,
    }
    return ResultInfo(id=result_id, **values | changes)


def an_event(data: Any, event_id: int = 1) -> Event:
    return Event(id=event_id, at=START, data=data)


def a_status(**changes: Any) -> Status:
    values: dict[str, Any] = {
        "version": "0.1.0",
        "pid": os.getpid(),
        "home": "/home/me/.local/share/hearth",
        "started_at": START,
        "encrypted": True,
        "engine": EngineInfo(
            state="ready", model="SmolLM2-135M-Instruct.Q4_1.gguf", n_ctx=8192, pid=4242, tokens_per_s=92.4
        ),
        "agents": 1,
        "agents_paused": 0,
        "runs_pending": 0,
        "runs_running": 0,
    }
    return Status(**values | changes)


class FakeRuntime:
    """Runs in: a thread of its own with its own loop. Public attributes are the state; `asked` is what was called."""

    def __init__(self, home: Path) -> None:
        self.paths = HomePaths(home)
        self.status = a_status(home=str(home))
        self.agents: dict[str, AgentInfo] = {}
        self.runs: dict[int, RunInfo] = {}
        self.steps: dict[int, list[StepInfo]] = {}
        self.results: list[ResultInfo] = []
        self.occurrences: list[OccurrenceInfo] = []
        self.occurrence_of: dict[int, OccurrenceDetail] = {}  # by run
        self.due_times: list[DueTime] = []
        self.notes: list[str] = []  # on every agent
        self.presences: list[Presence] = []
        self.conversations: dict[int, ConversationDetail] = {}
        self.recovery_code: str | None = None
        self.chat_script: list[BaseModel | float] = []  # events, and pauses in seconds
        self.refusals: dict[str, tuple[int, str, str]] = {}  # "METHOD /path" -> status, code, message
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.queries: list[dict[str, str]] = []
        self.chats_cut = 0
        self.overrides: dict[str, bytes] = {}  # "/path" -> raw body
        self._listeners: list[asyncio.Queue[str | None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    # --- for the test

    def start(self) -> None:
        self.paths.root.mkdir(parents=True, exist_ok=True)
        config = uvicorn.Config(self._app(), uds=str(self.paths.socket), log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="fake-runtime", daemon=True)
        self._thread.start()
        for _ in range(500):
            if self._accepts():
                return
            threading.Event().wait(0.01)
        raise AssertionError("the fake runtime does not listen")

    def stop(self) -> None:
        """Goes away at once, like a runtime that was killed; a second call does nothing."""
        if self._server is None or self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._drop_listeners)
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._server = self._thread = None
        self.paths.socket.unlink(missing_ok=True)

    def emit(self, *data: Any) -> None:
        for each in data:
            self._send(an_event(each).model_dump_json())

    def wait_for_listener(self) -> None:
        for _ in range(500):
            if self._listeners:
                return
            threading.Event().wait(0.01)
        raise AssertionError("nobody listens to the events")

    def say_stopping(self) -> None:
        self.emit(Stopping())

    # --- the server

    def _send(self, text: str) -> None:
        assert self._loop is not None
        for queue in tuple(self._listeners):
            self._loop.call_soon_threadsafe(queue.put_nowait, text)

    def _drop_listeners(self) -> None:
        for queue in self._listeners:
            queue.put_nowait(None)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.paths.socket))
            except OSError:
                return False
        return True

    def _serve(self) -> None:
        assert self._server is not None
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve())

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def note(request: Request, call_next: Any) -> Response:
            key = f"{request.method} {request.url.path}"
            self.asked.append(key)
            if request.url.path in self.overrides:
                return Response(self.overrides[request.url.path], media_type="application/json")
            if key in self.refusals:
                status, code, message = self.refusals[key]
                return JSONResponse({"error": {"code": code, "message": message}}, status)
            answer: Response = await call_next(request)
            return answer

        self._status_routes(app)
        self._agent_routes(app)
        self._run_routes(app)
        self._chat_routes(app)
        return app

    def _status_routes(self, app: FastAPI) -> None:
        @app.get("/v1/status")
        async def status() -> Status:
            return self.status

        @app.get("/v1/events")
        async def events() -> StreamingResponse:
            queue: asyncio.Queue[str | None] = asyncio.Queue()
            self._listeners.append(queue)

            async def lines() -> AsyncIterator[str]:
                try:
                    while (text := await queue.get()) is not None:
                        yield f"data: {text}\n\n"
                finally:
                    self._listeners.remove(queue)

            return StreamingResponse(lines(), media_type="text/event-stream")

        @app.post("/v1/engine/retry")
        async def retry() -> EngineInfo:
            return self.status.engine

        @app.get("/v1/recovery-code")
        async def recovery() -> Response:
            if self.recovery_code is None:
                return _refuse(404, "not_found", "The recovery code was shown already.")
            return JSONResponse({"code": self.recovery_code})

        @app.post("/v1/recovery-code/shown", status_code=204)
        async def shown() -> None:
            self.recovery_code = None
            self.status = self.status.model_copy(update={"recovery_code_pending": False})

        @app.post("/v1/stop", status_code=202)
        async def stop() -> None:
            self._send(an_event(Stopping()).model_dump_json())

    def _agent_routes(self, app: FastAPI) -> None:
        @app.get("/v1/agents")
        async def agents() -> list[AgentInfo]:
            return list(self.agents.values())

        @app.post("/v1/agents", status_code=201)
        async def add(body: AgentAdd) -> Response:
            self.bodies.append(body)
            if not body.accept:
                asks = ["read files in /home/me/Contracts"]
                return _refuse(409, "needs_consent", "This agent asks for something new.", asks=asks)
            name = body.source.split("name:")[1].split("\n")[0].strip()
            self._put_agent(an_agent(name))
            return Response(self._detail(name).model_dump_json(), 201, media_type="application/json")

        @app.get("/v1/agents/{name}")
        async def agent(name: str) -> AgentDetail:
            return self._detail(name)

        @app.put("/v1/agents/{name}/folders")
        async def folders(name: str, body: FoldersChange) -> AgentDetail:
            self.bodies.append(body)
            self._put_agent(self.agents[name].model_copy(update={"folders": body.folders, "paused": False}))
            return self._detail(name)

        @app.delete("/v1/agents/{name}", status_code=204)
        async def remove(name: str) -> None:
            del self.agents[name]
            self._send(an_event(AgentChanged(name=name)).model_dump_json())

        @app.get("/v1/agents/{name}/next")
        async def next_due(name: str, request: Request) -> list[DueTime]:
            self.queries.append(dict(request.query_params))
            return self.due_times

        @app.post("/v1/agents-switch")
        async def switch(body: AgentsSwitch) -> AgentsSwitched:
            reason = "All agents are stopped." if body.stopped else None
            self.status = self.status.model_copy(update={"agents_stopped": reason})
            switched = AgentsSwitched(stopped=body.stopped, reason=reason)
            self._send(an_event(SwitchChanged(switch=switched)).model_dump_json())
            return switched

        @app.post("/v1/presence", status_code=204)
        async def presence(body: Presence) -> None:
            self.presences.append(body)

        @app.post("/v1/agents/{name}/run")
        async def run(name: str, body: RunNow) -> RunsStarted:
            self.bodies.append(body)
            return RunsStarted(runs=[], message="Nothing new in /home/me/Inbox.")

        @app.post("/v1/agents/{name}/{verb}")
        async def pause(name: str, verb: str) -> AgentInfo:
            self._put_agent(self.agents[name].model_copy(update={"paused": verb == "pause"}))
            return self.agents[name]

    def _put_agent(self, agent: AgentInfo) -> None:
        self.agents[agent.name] = agent
        self._send(an_event(AgentChanged(name=agent.name, agent=agent)).model_dump_json())

    def _detail(self, name: str) -> AgentDetail:
        agent = self.agents[name]
        return AgentDetail(
            **agent.model_dump(),
            source=f"---\nname: {name}\n---\n",
            asks=[f"read files in {folder}" for folder in agent.folders],
            model="built-in",
            notify="always",
            notes=self.notes,
            revisions=[RevisionInfo(number=1, created_at=START)],
        )

    def _run_routes(self, app: FastAPI) -> None:
        @app.get("/v1/occurrences")
        async def occurrences(request: Request) -> list[OccurrenceInfo]:
            self.queries.append(dict(request.query_params))
            return self.occurrences

        @app.get("/v1/occurrences/{occurrence_id}")
        async def occurrence(occurrence_id: int) -> OccurrenceDetail:
            found = next(each for each in self.occurrences if each.id == occurrence_id)
            return OccurrenceDetail(**found.model_dump())

        @app.post("/v1/runs/{run_id}/retry", status_code=201)
        async def retry(run_id: int) -> RunInfo:
            return self._again(run_id, {"retry_of": run_id})

        @app.post("/v1/runs/{run_id}/replay", status_code=201)
        async def replay(run_id: int, body: Replay) -> RunInfo:
            self.bodies.append(body)
            return self._again(run_id, {"replay_of": run_id, "model": body.model or "built-in"})

        @app.get("/v1/runs")
        async def runs(
            request: Request, status: str | None = None, limit: int = 50, before: int | None = None
        ) -> list[RunInfo]:
            self.queries.append(dict(request.query_params))
            found = [run for run in self.runs.values() if status in (None, run.status)]
            found = [run for run in found if before is None or run.id < before]
            return sorted(found, key=lambda run: -run.id)[:limit]

        @app.get("/v1/runs/{run_id}")
        async def run(run_id: int) -> Response:
            if run_id not in self.runs:
                return _refuse(404, "not_found", f"There is no run {run_id}.")
            result = next((r for r in self.results if r.run_id == run_id), None)
            detail = RunDetail(
                **self.runs[run_id].model_dump(),
                revision=1,
                steps=self.steps.get(run_id, []),
                result=result,
                occurrence=self.occurrence_of.get(run_id),
            )
            return Response(detail.model_dump_json(), media_type="application/json")

        @app.post("/v1/runs/{run_id}/cancel")
        async def cancel(run_id: int) -> RunInfo:
            ended = {"status": "cancelled", "reason": "Cancelled by you.", "finished_at": START}
            self.runs[run_id] = self.runs[run_id].model_copy(update=ended)
            self._send(an_event(RunChanged(run=self.runs[run_id])).model_dump_json())
            return self.runs[run_id]

        @app.get("/v1/results")
        async def results(limit: int = 50) -> list[ResultInfo]:
            return self.results[:limit]

    def _again(self, run_id: int, changes: dict[str, Any]) -> RunInfo:
        """A run that repeats another, ended at once, with a result of its own."""
        new_id = max(self.runs) + 1
        self.runs[new_id] = self.runs[run_id].model_copy(update={"id": new_id, **changes})
        self.results.append(a_result(new_id, title=f"Again {new_id}"))
        return self.runs[new_id]

    def _chat_routes(self, app: FastAPI) -> None:
        @app.get("/v1/conversations")
        async def conversations() -> list[ConversationInfo]:
            found = sorted(self.conversations.values(), key=lambda c: c.updated_at, reverse=True)
            return [ConversationInfo(**c.model_dump(exclude={"messages"})) for c in found]

        @app.get("/v1/conversations/{conversation_id}")
        async def conversation(conversation_id: int) -> ConversationDetail:
            return self.conversations[conversation_id]

        @app.delete("/v1/conversations/{conversation_id}", status_code=204)
        async def delete(conversation_id: int) -> None:
            del self.conversations[conversation_id]

        @app.post("/v1/chat")
        async def chat(body: ChatRequest) -> StreamingResponse:
            self.bodies.append(body)

            async def lines() -> AsyncIterator[str]:
                try:
                    for each in self.chat_script:
                        if isinstance(each, float):
                            await asyncio.sleep(each)
                        else:
                            yield f"data: {each.model_dump_json()}\n\n"
                except (asyncio.CancelledError, GeneratorExit):
                    self.chats_cut += 1
                    raise

            return StreamingResponse(lines(), media_type="text/event-stream")


def a_conversation(conversation_id: int, *texts: str, title: str = "") -> ConversationDetail:
    """A conversation whose texts alternate between the user and the assistant."""
    messages = [
        ChatMessage(
            id=conversation_id * 1000 + number,
            role="user" if number % 2 == 0 else "assistant",
            text=text,
            status="complete",
            created_at=START,
        )
        for number, text in enumerate(texts)
    ]
    return ConversationDetail(
        id=conversation_id,
        title=title or f"Conversation {conversation_id}",
        created_at=START,
        updated_at=START + timedelta(minutes=conversation_id),
        messages=messages,
    )


def _refuse(status: int, code: str, message: str, **details: Any) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "details": details}}, status)
