"""The contract between the runtime and its clients: every body that crosses the local HTTP API.

Clients (the desktop, the command line, other programs) import this module and nothing else of the runtime. Requests refuse unknown
fields and have ranges; answers may gain fields within one API version. Times are aware UTC. The OpenAPI page is generated from here.

    GET    /v1/status                        Status
    GET    /v1/events                        server-sent events; each `data:` line is an Event
    GET    /v1/doctor                        DoctorReport
    GET    /v1/engine/models                 list[ModelInfo]: what is loaded, and what could be
    POST   /v1/engine/models/{id}/unload     ModelInfo: gives its memory back; the next use loads it again
    GET    /v1/agents                        list[AgentInfo]
    POST   /v1/agents                        AgentAdd -> AgentDetail (201; 409 needs_consent with details.asks)
    GET    /v1/agents/{name}                 AgentDetail
    PUT    /v1/agents/{name}/folders         FoldersChange -> AgentDetail
    DELETE /v1/agents/{name}                 204 (its runs and results stay readable)
    POST   /v1/agents/{name}/pause|resume    AgentInfo
    POST   /v1/agents/{name}/run             RunNow -> RunsStarted
    GET    /v1/agents/{name}/next?n=&start=&end=    list[DueTime]: what its timed triggers would do; past weeks too
    GET    /v1/limits                        Limits, of all agents together
    PATCH  /v1/limits                        LimitsChange -> Limits
    POST   /v1/agents-switch                 AgentsSwitch -> AgentsSwitched: one switch that stops all agents
    POST   /v1/hooks/{hook}                  any JSON up to 64 KB -> HookTaken (202); the header Idempotency-Key makes it once
    GET    /v1/occurrences?agent=&status=&since=&until=&limit=&before=   list[OccurrenceInfo], newest first
    GET    /v1/occurrences/{id}              OccurrenceDetail
    GET    /v1/runs?agent=&status=&trigger=&search=&since=&until=&limit=&before=   list[RunInfo], newest first
    GET    /v1/timeline?since=&until=&limit= list[RunInfo] that were in work in between, the last begun first
    GET    /v1/runs/{id}                     RunDetail
    POST   /v1/runs/{id}/cancel              RunInfo
    POST   /v1/runs/{id}/retry               RunInfo (201): the same work as a new run
    POST   /v1/runs/{id}/replay              Replay -> RunInfo (201): its model steps anew, on what the others left
    GET    /v1/results?agent=&limit=&before= list[ResultInfo], newest first
    GET    /v1/conversations                 list[ConversationInfo], last used first
    GET    /v1/conversations/{id}            ConversationDetail
    DELETE /v1/conversations/{id}            204
    POST   /v1/chat                          ChatRequest -> server-sent events; each `data:` line is a ChatEvent
    POST   /v1/engine/retry                  EngineInfo: tries a model again that was set aside
    POST   /v1/presence                      Presence, 204: what the desktop can tell about the user
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


class ModelInfo(_Answer):
    """One model that this runtime knows: the built-in ones, and those that agents name."""

    id: str  # as other programs and `hearth models` name it
    name: str
    state: str  # one of EngineInfo.state's words
    loaded: bool
    in_use: bool = False
    memory_bytes: int | None = None  # while it is loaded
    idle_s: float | None = None  # since it was used last, while it is loaded
    load_progress: float | None = None
    due_s: float | None = None  # until an agent's armed due time needs it
    plan: str | None = None


class IncidentInfo(_Answer):
    """Something that went wrong with Hearth itself, and what was done about it."""

    at: datetime
    kind: str
    detail: str


class SchedulerInfo(_Answer):
    """Whether due times are looked at."""

    last_tick: datetime | None = None  # when they were last looked at without trouble
    next_due: datetime | None = None  # the earliest one that is armed
    trouble: str | None = None  # why they can't be claimed at the moment
    incidents: list[IncidentInfo] = []  # the newest first


class GovernorInfo(_Answer):
    """Whether background work may use the machine now; agents with a power class of their own may wait longer."""

    action: Literal["run", "throttle", "pause"] = "run"
    reason: str | None = None  # one sentence when it is not "run"


class Limits(_Answer):
    """What all agents together may use up in the user's calendar day, and how much of the history is kept; None is no limit."""

    runs_per_hour: int | None = None
    runs_per_day: int | None = None
    tokens_per_day: int | None = None
    seconds_per_day: float | None = None  # of the model
    wh_per_day: float | None = None
    money_per_day: float | None = None  # USD
    keep_days: int | None = None
    keep_mb: int | None = None


class LimitsChange(_Request):
    """Changes the limits that it names; null lifts one."""

    runs_per_hour: int | None = Field(default=None, ge=0, le=1_000_000)
    runs_per_day: int | None = Field(default=None, ge=0, le=1_000_000)
    tokens_per_day: int | None = Field(default=None, ge=0, le=10**12)
    seconds_per_day: float | None = Field(default=None, ge=0, le=86_400 * 64)
    wh_per_day: float | None = Field(default=None, ge=0, le=1e9)
    money_per_day: float | None = Field(default=None, ge=0, le=1e9)
    keep_days: int | None = None
    keep_mb: int | None = Field(default=None, ge=0, le=10**9)


class AgentsSwitch(_Request):
    """Stops everything that agents do, or lets them go on."""

    stopped: bool


class AgentsSwitched(_Answer):
    """How the switch stands."""

    stopped: bool
    reason: str | None = None
    at: datetime | None = None
    note: str | None = None  # one sentence while it can't be written down, and so ends with the runtime


class Presence(_Request):
    """What a desktop sees of its user; what it can't see is None."""

    idle_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    full_screen: bool | None = None
    locked: bool | None = None


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
    scheduler: SchedulerInfo = SchedulerInfo()
    governor: GovernorInfo = GovernorInfo()
    agents_stopped: str | None = None  # why no agent works: the one switch was used
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
    paused_reason: str | None = None  # when Hearth paused it; None when the user did
    revision: int
    triggers: list[str] = []  # in words: "every weekday at 08:00"
    gates: list[str] = []  # in words: "only while the computer is plugged in"
    next_due: datetime | None = None  # armed; None where no trigger is timed
    next_due_words: str | None = None  # "tomorrow, Tuesday at 08:00"
    woken: int = 0  # how often something made it due
    free: int = 0  # how many of these a gate ended before anything was spent
    folders: list[str]
    patterns: list[str]
    problem: str | None = None  # why it can't work at the moment: a folder is missing
    stopped: bool = False  # by the one switch for all agents
    waits: str | None = (
        None  # for what something that happened waits: "Waits until the computer is plugged in."
    )
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
    policies: list[str] = []  # in words; what stands at its default is left out
    write_folder: str | None = None
    notes: list[str] = []  # what its user may not expect, a sentence each: "It runs only by hand."
    revisions: list[RevisionInfo]


class AgentAdd(_Request):
    """Adds an agent, or a new revision of the one with that name when `replace` is set."""

    source: str = Field(max_length=200_000)
    accept: bool = False  # yes to what it asks for
    replace: bool = False


class FoldersChange(_Request):
    """Chooses the folders that an agent watches and may read; saying it is the consent."""

    folders: list[str] = Field(max_length=50)


class DueTime(_Answer):
    """One due time, past or to come, as a timed trigger of an agent makes it."""

    at: datetime
    words: str  # by the user's clock
    zone: str | None = None  # of that clock
    there: str | None = None  # by the trigger's own clock, where that is another one: "Sunday at 01:30"
    trigger: str  # in words
    note: str | None = None  # what daylight saving did to it
    armed: bool = False  # it is a row already


class RunNow(_Request):
    """Works at once: looks at the folders, or writes; with `file`, on that file even if this version was handled."""

    file: str | None = Field(default=None, max_length=4096)


class RunsStarted(_Answer):
    """What a RunNow led to."""

    runs: list[RunInfo]
    message: str  # one sentence: "2 new files.", "Nothing new in /home/me/Inbox."


# --- due times -----------------------------------------------------------------------------------


OccurrenceStatusWord = Literal[
    "scheduled",
    "claimed",
    "pending",
    "running",
    "waiting_for_approval",
    "succeeded",
    "unverified",
    "failed",
    "missed",
    "skipped",
    "cancelled",
]

TriggerWord = Literal[
    "cron",
    "interval",
    "once",
    "file_changed",
    "start",
    "wake",
    "idle",
    "webhook",
    "result",
    "manual",
]


class OccurrenceInfo(_Answer):
    """One due time in the ledger."""

    id: int
    agent: str
    trigger: TriggerWord
    due_at: datetime
    status: OccurrenceStatusWord
    reason: str | None = None
    created_at: datetime
    claimed_at: datetime | None = None
    file: str | None = None
    n_due: int = 1  # due times that the row stands for
    run_id: int | None = None


class GateInfo(_Answer):
    """What one gate said."""

    gate: str
    open: bool
    detail: str


class OccurrenceDetail(OccurrenceInfo):
    """One due time with what its gates said."""

    gates: list[GateInfo] = []


class HookTaken(_Answer):
    """A webhook's call is a row now; `repeated` when a call with that key had been taken before."""

    occurrence_id: int | None = None  # of a repeated call the first one's
    agent: str
    repeated: bool = False


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
    failures: int = 0  # attempts that failed and were followed by another
    not_before: datetime | None = None  # of a pending run: when it is tried again
    retry_of: int | None = None
    replay_of: int | None = None
    brought: str | None = None  # the beginning of what a hook's call brought, on one line
    energy_j: float | None = None  # None where no meter tells
    cost_usd: float = 0.0


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
    energy_j: float | None = None
    cost_usd: float = 0.0
    route: str | None = None  # where the model ran


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
    trigger_words: str | None = None  # "when the hook “build” is called"
    content_hash: str | None = None
    steps: list[StepInfo]
    result: ResultInfo | None = None
    occurrence: OccurrenceDetail | None = None


class Replay(_Request):
    """Runs the model steps of a finished run anew, on another model or by another revision of its agent."""

    model: str | None = Field(default=None, max_length=4096)  # the full path of a GGUF file, or "built-in"
    revision: int | None = Field(default=None, ge=1)


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


class OccurrenceChanged(_Answer):
    """A due time ended without a run: it was missed or skipped."""

    type: Literal["occurrence"] = "occurrence"
    occurrence: OccurrenceInfo


class GovernorChanged(_Answer):
    """What background work may do with the machine has changed."""

    type: Literal["governor"] = "governor"
    governor: GovernorInfo


class SwitchChanged(_Answer):
    """The one switch for all agents was used."""

    type: Literal["switch"] = "switch"
    switch: AgentsSwitched


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
    | OccurrenceChanged
    | GovernorChanged
    | SwitchChanged
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
