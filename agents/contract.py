"""The contract between the runtime and its clients: every body that crosses the local HTTP API.

Clients (the desktop, the command line, other programs) import this module and nothing else of the runtime. Requests refuse unknown
fields and have ranges; answers may gain fields within one API version. Times are aware UTC. The OpenAPI page is generated from here.

    GET    /v1/status                        Status
    GET    /v1/events                        server-sent events; each `data:` line is an Event
    GET    /v1/doctor                        DoctorReport
    GET    /v1/agents                        list[AgentInfo]
    POST   /v1/agents                        AgentAdd -> AgentDetail (201; 409 needs_consent with details.asks)
    GET    /v1/agents/{name}                 AgentDetail
    PUT    /v1/agents/{name}/folders         FoldersChange -> AgentDetail
    DELETE /v1/agents/{name}                 204 (its runs and results stay readable)
    POST   /v1/agents/{name}/pause|resume    AgentInfo
    POST   /v1/agents/{name}/run             RunNow -> RunsStarted
    GET    /v1/runs?agent=&status=&limit=&before=   list[RunInfo], newest first
    GET    /v1/runs/{id}                     RunDetail
    POST   /v1/runs/{id}/cancel              RunInfo
    GET    /v1/results?agent=&limit=&before= list[ResultInfo], newest first
    GET    /v1/conversations                 list[ConversationInfo], last used first
    GET    /v1/conversations/{id}            ConversationDetail
    DELETE /v1/conversations/{id}            204
    POST   /v1/chat                          ChatRequest -> server-sent events; each `data:` line is a ChatEvent
    POST   /v1/engine/retry                  EngineInfo: tries a model again that was set aside
    GET    /v1/recovery-code                 RecoveryCode, until somebody said that it was shown
    POST   /v1/recovery-code/shown           204
    POST   /v1/stop                          202; the runtime ends in order

An error body is {"error": Problem}; its message is one sentence for the user.
Closing the connection of /v1/chat stops the generation.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

API_VERSION = 1

# What a client may name a row by; SQLite counts no further.
RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Problem(_Answer):
    """What went wrong, for a program (`code`) and for a person (`message`, one sentence with the remedy)."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorBody(_Answer):
    """The body of every answer with status 400 or above."""

    error: Problem


# --- engine and status ---------------------------------------------------------------------------


class EngineInfo(_Answer):
    """The engine as the user should see it. `state` is one of engine.core.EngineState's words."""

    state: Literal["stopped", "starting", "self_test", "ready", "busy", "restarting", "set_aside"]
    model: str | None = None
    n_ctx: int | None = None
    pid: int | None = None
    notice: str | None = None  # one sentence: for example that safe settings are in use
    reason: str | None = None  # why the model was set aside
    deaths: int = 0
    tokens_per_s: float | None = None  # of the last finished answer
    load_progress: float | None = None  # 0 to 1 while the model is loaded
    plan: str | None = None  # in words: what runs where, with which context
    memory_bytes: int | None = None  # that the loaded model takes


class Status(_Answer):
    """GET /v1/status."""

    api_version: int = API_VERSION
    version: str
    pid: int
    home: str
    started_at: datetime
    encrypted: bool
    recovery_code_pending: bool = False
    engine: EngineInfo
    agents: int
    agents_paused: int
    runs_pending: int
    runs_running: int
    last_tick: datetime | None = None  # when the scheduler last looked at the folders
    next_tick: datetime | None = None
    notices: list[str] = []  # sentences that the user should read, newest last


class DoctorCheck(_Answer):
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str  # one sentence; with the remedy when not ok


class DoctorReport(_Answer):
    """GET /v1/doctor."""

    ok: bool
    checks: list[DoctorCheck]


class RecoveryCode(_Answer):
    """The code that opens the database when the keyring is lost."""

    code: str


# --- agents --------------------------------------------------------------------------------------


class AgentInfo(_Answer):
    """One agent in a list."""

    name: str
    description: str
    kind: str
    paused: bool
    revision: int
    folders: list[str]
    patterns: list[str]
    problem: str | None = None  # why it can't work at the moment: a folder is missing
    waiting: int = 0  # runs that are pending or running
    running: int = 0  # of them
    succeeded: int = 0
    failed: int = 0
    last_run: RunInfo | None = None


class RevisionInfo(_Answer):
    """One version of a definition."""

    number: int
    created_at: datetime


class AgentDetail(AgentInfo):
    """One agent with its definition."""

    source: str  # Markdown with YAML front matter
    asks: list[str]  # what it may touch, in words
    model: str
    notify: str
    revisions: list[RevisionInfo]


class AgentAdd(_Request):
    """Adds an agent, or a new revision of the one with that name when `replace` is set."""

    source: str = Field(max_length=200_000)
    accept: bool = False  # yes to what it asks for
    replace: bool = False


class FoldersChange(_Request):
    """Chooses the folders that an agent watches and may read; saying it is the consent."""

    folders: list[str] = Field(max_length=50)


class RunNow(_Request):
    """Looks at the folders at once; with `file`, digests that file again even if this version was handled."""

    file: str | None = Field(default=None, max_length=4096)


class RunsStarted(_Answer):
    """What a RunNow led to."""

    runs: list[RunInfo]
    message: str  # one sentence: "2 new files.", "Nothing new in /home/me/Inbox."


# --- runs ----------------------------------------------------------------------------------------


RunStatusWord = Literal[
    "pending",
    "running",
    "waiting_for_approval",
    "succeeded",
    "unverified",
    "failed",
    "cancelled",
]


class RunInfo(_Answer):
    """One run in a list."""

    id: int
    agent: str
    trigger: str
    status: RunStatusWord
    reason: str | None = None
    file: str | None = None  # full path
    due_at: datetime
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 0
    model: str | None = None
    tokens: int = 0  # prompt and completion
    tokens_per_s: float | None = None
    title: str | None = None  # of its result


class StepInfo(_Answer):
    """One step of a run."""

    seq: int
    kind: Literal["read", "split", "model", "effect"]
    title: str
    status: Literal["running", "succeeded", "failed", "interrupted"]
    detail: str | None = None
    error: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_per_s: float | None = None


class ResultInfo(_Answer):
    """What a run handed over."""

    id: int
    run_id: int
    agent: str
    file: str | None = None
    title: str
    summary: str
    action_items: list[str]
    category: str
    created_at: datetime


class RunDetail(RunInfo):
    """One run with its steps and its result."""

    revision: int
    content_hash: str | None = None
    steps: list[StepInfo]
    result: ResultInfo | None = None


# --- chat ----------------------------------------------------------------------------------------


class ChatRequest(_Request):
    """A message of the user. Without `conversation_id` a new conversation begins; `save=False` leaves no trace."""

    text: str = Field(min_length=1, max_length=200_000)
    conversation_id: RowId | None = None
    save: bool = True
    json_schema: dict[str, Any] | None = None
    max_tokens: int = Field(default=1024, ge=1, le=32_768)
    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 2)  # the next value means "random" to the engine


class ChatMessage(_Answer):
    """One message of a conversation."""

    id: int
    role: Literal["user", "assistant"]
    text: str
    status: Literal["complete", "streaming", "cut", "failed"]
    created_at: datetime
    tokens_per_s: float | None = None


class ConversationInfo(_Answer):
    """One conversation in a list."""

    id: int
    title: str
    created_at: datetime
    updated_at: datetime


class ConversationDetail(ConversationInfo):
    """One conversation with its messages, oldest first."""

    messages: list[ChatMessage]


class ChatStarted(_Answer):
    type: Literal["started"] = "started"
    conversation_id: int | None = None
    title: str | None = None


class ChatProgress(_Answer):
    """Reading the prompt. Before the first one the request waits for its turn."""

    type: Literal["progress"] = "progress"
    done_tokens: int
    total_tokens: int


class ChatDelta(_Answer):
    type: Literal["delta"] = "delta"
    text: str


class ChatRestarted(_Answer):
    """The engine died and the answer begins anew: forget the text so far."""

    type: Literal["restarted"] = "restarted"
    reason: str


class ChatDone(_Answer):
    type: Literal["done"] = "done"
    text: str
    finish_reason: Literal["stop", "length", "tool_calls", "cancelled"]
    prompt_tokens: int
    completion_tokens: int
    tokens_per_s: float | None = None


class ChatFailed(_Answer):
    type: Literal["failed"] = "failed"
    error: Problem


ChatEvent = Annotated[
    ChatStarted | ChatProgress | ChatDelta | ChatRestarted | ChatDone | ChatFailed,
    Field(discriminator="type"),
]


# --- events --------------------------------------------------------------------------------------


class NoticeLevel(StrEnum):
    """How loudly a notice wants to be shown."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class RunChanged(_Answer):
    """A run was created, began, ended or was cancelled."""

    type: Literal["run"] = "run"
    run: RunInfo


class StepChanged(_Answer):
    """A step of a run began or ended; its state is already on disk."""

    type: Literal["step"] = "step"
    run_id: int
    step: StepInfo


class RunProgress(_Answer):
    """How far the model step in work is; sent a few times a second, never stored."""

    type: Literal["progress"] = "progress"
    run_id: int
    seq: int
    done_prompt_tokens: int = 0
    total_prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_per_s: float | None = None


class ResultReady(_Answer):
    """A run succeeded. `notify` follows the agent's policy."""

    type: Literal["result"] = "result"
    result: ResultInfo
    notify: bool


class RunFailed(_Answer):
    """A run failed. `notify` follows the agent's policy."""

    type: Literal["run_failed"] = "run_failed"
    run: RunInfo
    notify: bool


class AgentChanged(_Answer):
    """An agent was added, changed, paused or removed (`agent` is then None)."""

    type: Literal["agent"] = "agent"
    name: str
    agent: AgentInfo | None = None


class EngineChanged(_Answer):
    type: Literal["engine"] = "engine"
    engine: EngineInfo


class Notice(_Answer):
    """One sentence that the user should read."""

    type: Literal["notice"] = "notice"
    level: NoticeLevel
    text: str


class Stopping(_Answer):
    """The runtime is going down in order."""

    type: Literal["stopping"] = "stopping"


EventData = Annotated[
    RunChanged
    | StepChanged
    | RunProgress
    | ResultReady
    | RunFailed
    | AgentChanged
    | EngineChanged
    | Notice
    | Stopping,
    Field(discriminator="type"),
]


class Event(_Answer):
    """One line of /v1/events. Events say what changed; after a gap or a reconnect, read the state anew."""

    id: int
    at: datetime
    data: EventData


CHAT_EVENT: TypeAdapter[Any] = TypeAdapter(ChatEvent)

AgentInfo.model_rebuild()
AgentDetail.model_rebuild()
RunsStarted.model_rebuild()
