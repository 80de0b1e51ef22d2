"""The runtime's contract as methods with callbacks; bodies are parsed by pydantic.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import TypeAdapter

from agents.contract import (
    AgentAdd,
    AgentDetail,
    AgentInfo,
    AgentsSwitch,
    AgentsSwitched,
    ChatRequest,
    ConversationDetail,
    ConversationInfo,
    EngineInfo,
    FoldersChange,
    Presence,
    RecoveryCode,
    ResultInfo,
    RunDetail,
    RunInfo,
    RunNow,
    RunsStarted,
)
from app.desktop.link.transport import HttpClient, SseStream, Trouble

T = TypeVar("T")
Done = Callable[[T], None]
Failed = Callable[[Trouble], None]

SCAN_TIMEOUT_S = 120.0  # looking at a big folder, or checking folders on a slow disk

_AGENTS: TypeAdapter[list[AgentInfo]] = TypeAdapter(list[AgentInfo])
_RUNS: TypeAdapter[list[RunInfo]] = TypeAdapter(list[RunInfo])
_RESULTS: TypeAdapter[list[ResultInfo]] = TypeAdapter(list[ResultInfo])
_CONVERSATIONS: TypeAdapter[list[ConversationInfo]] = TypeAdapter(list[ConversationInfo])


def _nothing(_body: bytes) -> None:
    return None


class RuntimeApi:
    """Every request that the desktop makes, by name."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def status(self, read: Callable[[bytes], T], done: Done[T], failed: Failed) -> None:
        """The caller reads the body itself: another version's body may differ."""
        self._http.call("GET", "/v1/status", read=read, done=done, failed=failed, timeout_s=10.0)

    def events(self) -> SseStream:
        return self._http.stream("/v1/events")

    # --- agents

    def agents(self, done: Done[list[AgentInfo]], failed: Failed) -> None:
        self._http.call("GET", "/v1/agents", read=_AGENTS.validate_json, done=done, failed=failed)

    def agent(self, name: str, done: Done[AgentDetail], failed: Failed) -> None:
        self._http.call("GET", _agent(name), read=AgentDetail.model_validate_json, done=done, failed=failed)

    def add_agent(self, body: AgentAdd, done: Done[AgentDetail], failed: Failed) -> None:
        read = AgentDetail.model_validate_json
        self._http.call("POST", "/v1/agents", body=body, read=read, done=done, failed=failed)

    def choose_folders(self, name: str, folders: list[str], done: Done[AgentDetail], failed: Failed) -> None:
        self._http.call(
            "PUT",
            _agent(name) + "/folders",
            body=FoldersChange(folders=folders),
            read=AgentDetail.model_validate_json,
            done=done,
            failed=failed,
            timeout_s=SCAN_TIMEOUT_S,
        )

    def remove_agent(self, name: str, done: Done[None], failed: Failed) -> None:
        self._http.call("DELETE", _agent(name), read=_nothing, done=done, failed=failed)

    def set_paused(self, name: str, paused: bool, done: Done[AgentInfo], failed: Failed) -> None:
        path = f"{_agent(name)}/{'pause' if paused else 'resume'}"
        self._http.call("POST", path, read=AgentInfo.model_validate_json, done=done, failed=failed)

    def switch_agents(self, stopped: bool, done: Done[AgentsSwitched], failed: Failed) -> None:
        """Stops everything that agents do, or lets them go on."""
        self._http.call(
            "POST",
            "/v1/agents-switch",
            body=AgentsSwitch(stopped=stopped),
            read=AgentsSwitched.model_validate_json,
            done=done,
            failed=failed,
        )

    def run_agent(self, name: str, file: str | None, done: Done[RunsStarted], failed: Failed) -> None:
        self._http.call(
            "POST",
            _agent(name) + "/run",
            body=RunNow(file=file),
            read=RunsStarted.model_validate_json,
            done=done,
            failed=failed,
            timeout_s=SCAN_TIMEOUT_S,
        )

    # --- runs and results

    def runs(self, done: Done[list[RunInfo]], failed: Failed, **query: Any) -> None:
        path = "/v1/runs" + (f"?{urlencode(query)}" if query else "")
        self._http.call("GET", path, read=_RUNS.validate_json, done=done, failed=failed)

    def run(self, run_id: int, done: Done[RunDetail], failed: Failed) -> None:
        self._http.call(
            "GET", f"/v1/runs/{run_id}", read=RunDetail.model_validate_json, done=done, failed=failed
        )

    def cancel_run(self, run_id: int, done: Done[RunInfo], failed: Failed) -> None:
        path = f"/v1/runs/{run_id}/cancel"
        self._http.call("POST", path, read=RunInfo.model_validate_json, done=done, failed=failed)

    def retry_run(self, run_id: int, done: Done[RunInfo], failed: Failed) -> None:
        path = f"/v1/runs/{run_id}/retry"
        self._http.call("POST", path, read=RunInfo.model_validate_json, done=done, failed=failed)

    def results(self, done: Done[list[ResultInfo]], failed: Failed, *, limit: int) -> None:
        path = f"/v1/results?limit={limit}"
        self._http.call("GET", path, read=_RESULTS.validate_json, done=done, failed=failed)

    # --- chat

    def conversations(self, done: Done[list[ConversationInfo]], failed: Failed) -> None:
        read = _CONVERSATIONS.validate_json
        self._http.call("GET", "/v1/conversations", read=read, done=done, failed=failed)

    def conversation(self, conversation_id: int, done: Done[ConversationDetail], failed: Failed) -> None:
        path = f"/v1/conversations/{conversation_id}"
        self._http.call("GET", path, read=ConversationDetail.model_validate_json, done=done, failed=failed)

    def delete_conversation(self, conversation_id: int, done: Done[None], failed: Failed) -> None:
        path = f"/v1/conversations/{conversation_id}"
        self._http.call("DELETE", path, read=_nothing, done=done, failed=failed)

    def chat(self, request: ChatRequest) -> SseStream:
        return self._http.stream("/v1/chat", request)

    # --- the runtime itself

    def presence(self, presence: Presence, done: Done[None], failed: Failed) -> None:
        self._http.call("POST", "/v1/presence", body=presence, read=_nothing, done=done, failed=failed)

    def retry_engine(self, done: Done[EngineInfo], failed: Failed) -> None:
        read = EngineInfo.model_validate_json
        self._http.call("POST", "/v1/engine/retry", read=read, done=done, failed=failed)

    def recovery_code(self, done: Done[RecoveryCode], failed: Failed) -> None:
        read = RecoveryCode.model_validate_json
        self._http.call("GET", "/v1/recovery-code", read=read, done=done, failed=failed)

    def recovery_code_shown(self, done: Done[None], failed: Failed) -> None:
        self._http.call("POST", "/v1/recovery-code/shown", read=_nothing, done=done, failed=failed)

    def stop(self, done: Done[None], failed: Failed) -> None:
        self._http.call("POST", "/v1/stop", read=_nothing, done=done, failed=failed)


def _agent(name: str) -> str:
    return f"/v1/agents/{quote(name, safe='')}"
