"""The nouns of the runtime: definitions, occurrences, runs, steps, results and conversations, as frozen values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from agents.policies import RunPolicy
from agents.triggers import FileTrigger, Gate, GateKind, TimedTrigger, Trigger, TriggerKind

BUILT_IN_MODEL = "built-in"
FILE_GONE = "file_gone"  # the code of the one failure that ends when its file is there again


class AgentKind(StrEnum):
    """What an agent's runs do."""

    DIGEST = "digest"  # reads one document and writes a title, a summary, action items and a category
    WRITE = "write"  # follows its instructions on what its trigger brought, and writes a text


class NotifyPolicy(StrEnum):
    """Which results of an agent are worth a notification."""

    ALWAYS = "always"
    FAILED = "failed"
    NEVER = "never"


class OccurrenceStatus(StrEnum):
    """Where one due time stands. With a run it has the run's word and reason; without one it ends as missed or skipped."""

    SCHEDULED = "scheduled"  # a row, due later or waiting to be claimed
    CLAIMED = "claimed"  # this runtime is looking at its gates right now
    PENDING = "pending"  # its run waits
    RUNNING = "running"
    WAITING = "waiting_for_approval"
    SUCCEEDED = "succeeded"
    UNVERIFIED = "unverified"
    FAILED = "failed"
    MISSED = "missed"  # nobody was there in time; `reason` says why
    SKIPPED = "skipped"  # a gate, a policy or a budget decided against it; `reason` says which
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in _ENDS


_ENDS = frozenset(
    {
        OccurrenceStatus.SUCCEEDED,
        OccurrenceStatus.UNVERIFIED,
        OccurrenceStatus.FAILED,
        OccurrenceStatus.MISSED,
        OccurrenceStatus.SKIPPED,
        OccurrenceStatus.CANCELLED,
    }
)

OCCURRENCE_TRANSITIONS: Mapping[OccurrenceStatus, frozenset[OccurrenceStatus]] = {
    # straight to pending: what needs no look at gates and policies, such as a run by hand
    OccurrenceStatus.SCHEDULED: frozenset({OccurrenceStatus.CLAIMED, OccurrenceStatus.MISSED}),
    # back to scheduled: the runtime died while it looked at the gates, or what happened waits
    OccurrenceStatus.CLAIMED: frozenset(
        {
            OccurrenceStatus.SCHEDULED,
            OccurrenceStatus.PENDING,
            OccurrenceStatus.MISSED,
            OccurrenceStatus.SKIPPED,
            OccurrenceStatus.CANCELLED,
        }
    ),
}
"""Until there is a run; from then on an occurrence follows RUN_TRANSITIONS."""


class HeldBy(StrEnum):
    """What something that happened waits for: it stays scheduled, and is looked at again."""

    HOURS = "hours"  # a gate
    AC_POWER = "ac_power"  # another one
    STOPPED = "stopped"  # the switch that stops all agents
    RUN_LIMIT = "run_limit"  # so many runs an hour or a day, of its agent or of the house


class RunStatus(StrEnum):
    """Where a run stands. Its occurrence ends together with it, with the same word and reason."""

    PENDING = "pending"  # a row, not begun (or to be begun again: `attempt` tells)
    RUNNING = "running"  # this runtime is working on it right now
    WAITING = "waiting_for_approval"  # parked until somebody decides
    SUCCEEDED = "succeeded"  # its result is stored
    UNVERIFIED = "unverified"  # it has a result, and an effect of which nobody knows whether it happened
    FAILED = "failed"  # ended without a result; `reason` is one sentence
    CANCELLED = "cancelled"  # ended by the user, or by a newer run of its agent

    @property
    def is_final(self) -> bool:
        return self in (RunStatus.SUCCEEDED, RunStatus.UNVERIFIED, RunStatus.FAILED, RunStatus.CANCELLED)


RUN_TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED}),
    # back to pending: the runtime stopped or died, or the run is tried again later, from the last finished step
    RunStatus.RUNNING: frozenset(
        {
            RunStatus.PENDING,
            RunStatus.WAITING,
            RunStatus.SUCCEEDED,
            RunStatus.UNVERIFIED,
            RunStatus.FAILED,
            RunStatus.CANCELLED,
        }
    ),
    RunStatus.WAITING: frozenset({RunStatus.PENDING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.UNVERIFIED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class StepKind(StrEnum):
    """What a step of a run does."""

    READ = "read"  # a file becomes text
    SPLIT = "split"  # a text becomes parts that fit the model's context
    MODEL = "model"  # the model answers
    EFFECT = "effect"  # something outside of Hearth changes


class StepStatus(StrEnum):
    """Where a step stands; a step with a stored output is never executed again."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # the runtime stopped or died in the middle; the step is begun anew


@dataclass(frozen=True, kw_only=True)
class AgentDefinition:
    """What an agent's Markdown file says, checked. It is immutable: a change is a new revision."""

    name: str
    description: str
    kind: AgentKind
    triggers: tuple[Trigger, ...]
    read_folders: tuple[Path, ...]  # the capability: nothing outside is ever opened
    gates: tuple[Gate, ...] = ()
    hosts: tuple[str, ...] = ()  # that gates may ask, without port
    commands: tuple[tuple[str, ...], ...] = ()  # that gates may run, exactly so
    write_folder: Path | None = None  # where results are also written as files
    policy: RunPolicy = field(default_factory=RunPolicy)
    model: str = BUILT_IN_MODEL  # or the absolute path of a GGUF file
    notify: NotifyPolicy = NotifyPolicy.ALWAYS
    instructions: str = ""

    @property
    def file_triggers(self) -> tuple[FileTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if isinstance(trigger, FileTrigger))

    @property
    def timed_triggers(self) -> tuple[TimedTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if isinstance(trigger, TimedTrigger))


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent as it lives in the store, with its current revision."""

    id: int
    revision_id: int
    revision: int  # counts from 1
    paused: bool
    created_at: datetime
    source: str = field(repr=False)  # the Markdown that the definition came from
    definition: AgentDefinition
    paused_reason: str | None = None  # when Hearth paused it; None when the user did

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One version of an agent's definition."""

    id: int
    agent_id: int
    number: int
    created_at: datetime
    source: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class NewOccurrence:
    """One due time, before it has a row. (agent_id, key) is unique: that is what makes it happen once."""

    agent_id: int
    trigger: TriggerKind
    key: str
    due_at: datetime
    trigger_key: str | None = None  # of the trigger in the agent's definition; None for a run by hand
    path: Path | None = None
    content_hash: str | None = None  # sha256 of the file's bytes, in hex
    size_bytes: int | None = None
    input: Any = field(default=None, repr=False)  # JSON value: what the trigger brought
    n_due: int = 1  # due times that this row stands for; more than one only in a row of missed ones


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One due time as it stands in the ledger."""

    id: int
    agent_id: int
    agent_name: str
    trigger: TriggerKind
    trigger_key: str | None
    key: str
    due_at: datetime
    status: OccurrenceStatus
    reason: str | None
    created_at: datetime
    claimed_at: datetime | None
    fence: int  # grows with each claim: who holds an older number changes nothing any more
    path: Path | None
    content_hash: str | None
    input: Any = field(repr=False)
    n_due: int = 1
    run_id: int | None = None
    held_until: datetime | None = None  # it waits, and is looked at then; `reason` says for what


@dataclass(frozen=True, kw_only=True)
class GateOutcome:
    """What one gate said about one occurrence."""

    gate: GateKind
    key: str
    is_open: bool
    detail: str  # one line for the user: "2 of 14 files changed"
    # What it saw, to compare with once it has let a run through.
    state: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Wakings:
    """How often triggers woke an agent, and how often a gate sent it back before anything was spent."""

    woken: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that claims due times and runs. The same process id after a reboot is another owner."""

    pid: int
    started_at: str  # of the process, as the system tells it
    boot_id: str

    def __str__(self) -> str:
        return f"{self.pid}@{self.started_at}@{self.boot_id}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of one occurrence, by the exact revision it points at."""

    id: int
    agent_id: int
    agent_name: str
    revision_id: int
    occurrence_id: int
    trigger: TriggerKind
    status: RunStatus
    reason: str | None  # one sentence for the user when it failed, was cancelled or is to be tried again
    path: Path | None
    content_hash: str | None
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int  # how often it was begun; 0 while it never was
    failures: int  # attempts that failed and were followed by another
    not_before: datetime | None  # of a pending run: when it is tried again
    retry_of: int | None  # the run that somebody asked to have done again
    replay_of: int | None  # the run whose recorded steps this one takes, on another model or revision
    model: str | None
    prompt_tokens: int  # summed over its finished steps
    completion_tokens: int
    model_s: float  # seconds the model worked on them, reading and writing
    energy_j: float | None  # that the machine used for them; None where nothing tells
    cost_usd: float  # that a provider asks for them
    title: str | None  # of its result, when there is one
    input: Any = field(default=None, repr=False)  # JSON value: what its trigger brought

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens written a second of model time, reading the prompts included."""
        return self.completion_tokens / self.model_s if self.model_s > 0 else None


@dataclass(frozen=True, kw_only=True)
class StepUsage:
    """What a model step cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    energy_j: float | None = None  # that the machine used meanwhile; None where nothing tells
    cost_usd: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens written a second of model time, reading the prompt included."""
        model_s = self.prefill_s + self.decode_s
        return self.completion_tokens / model_s if model_s > 0 else None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a run. `key` names it within the run, so that a later attempt finds its output again."""

    id: int
    run_id: int
    seq: int  # order of first begin, from 1
    key: str
    kind: StepKind
    title: str
    status: StepStatus
    started_at: datetime
    finished_at: datetime | None
    detail: str | None  # one short line for the user: "3 pages, 1,240 words"
    error: str | None
    usage: StepUsage
    output: Any = field(repr=False)  # JSON value, private
    route: str | None = None  # where the model of a model step ran: "local"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Something that a run changes outside of Hearth. Without an outcome nobody knows yet whether it happened."""

    run_id: int
    key: str  # within its run: the same key is the same effect, in whichever attempt
    kind: str
    request: Any = field(repr=False)  # JSON value
    outcome: Any = field(default=None, repr=False)  # JSON value, never null once it is known


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that went wrong with Hearth itself, and was mended or has to be."""

    id: int
    kind: str
    detail: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class NewResult:
    """What a run hands over, before it has a row."""

    title: str
    summary: str
    action_items: tuple[str, ...]
    category: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run handed over; exactly one for each run that succeeded."""

    id: int
    run_id: int
    agent_name: str
    path: Path | None
    title: str
    summary: str = field(repr=False)
    action_items: tuple[str, ...] = field(repr=False)
    category: str
    created_at: datetime


class EffectKind(StrEnum):
    """What a run changes outside of Hearth."""

    WRITE_FILE = "write_file"


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What was last known of a watched file: enough to see without reading it that it has not changed."""

    path: Path
    size_bytes: int
    mtime_ns: int
    inode: int
    content_hash: str


class MessageStatus(StrEnum):
    """Where a chat message stands."""

    COMPLETE = "complete"
    STREAMING = "streaming"  # becomes "cut" when the runtime starts and finds it so
    CUT = "cut"  # ended early: stopped by the user, by the token limit or by a crash
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A talk between the user and the model."""

    id: int
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ChatTurn:
    """One message of a conversation."""

    id: int
    conversation_id: int
    role: str  # "user" or "assistant"
    text: str = field(repr=False)
    status: MessageStatus
    created_at: datetime
    usage: StepUsage
