"""The nouns of the runtime: definitions, occurrences, runs, steps, results and conversations, as frozen values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

BUILT_IN_MODEL = "built-in"
FILE_GONE = "file_gone"  # the code of the one failure that ends when its file is there again


class AgentKind(StrEnum):
    """What an agent's runs do."""

    DIGEST = "digest"  # reads one document and writes a title, a summary, action items and a category


class TriggerKind(StrEnum):
    """What makes an occurrence."""

    FILE_CHANGED = "file_changed"  # a new version of a file in a watched folder
    MANUAL = "manual"  # somebody asked for it


class NotifyPolicy(StrEnum):
    """Which results of an agent are worth a notification."""

    ALWAYS = "always"
    FAILED = "failed"
    NEVER = "never"


class RunStatus(StrEnum):
    """Where a run stands. Its occurrence ends together with it, with the same word and reason."""

    PENDING = "pending"  # a row, not begun (or begun by a runtime that died: `attempt` tells)
    RUNNING = "running"  # this runtime is working on it right now
    SUCCEEDED = "succeeded"  # its result is stored
    FAILED = "failed"  # ended without a result; `reason` is one sentence
    CANCELLED = "cancelled"  # ended by the user

    @property
    def is_final(self) -> bool:
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


RUN_TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED}),
    # back to pending: the runtime stopped or died, and the next one goes on from the last finished step
    RunStatus.RUNNING: frozenset(
        {RunStatus.PENDING, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}
    ),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class StepKind(StrEnum):
    """What a step of a run does."""

    READ = "read"  # a file becomes text
    SPLIT = "split"  # a text becomes parts that fit the model's context
    MODEL = "model"  # the model answers


class StepStatus(StrEnum):
    """Where a step stands; a step with a stored output is never executed again."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # the runtime stopped or died in the middle; the step is begun anew


@dataclass(frozen=True, kw_only=True)
class FileTrigger:
    """Watches folders for new versions of files. `patterns` are shell globs on the file's name."""

    folders: tuple[Path, ...]
    patterns: tuple[str, ...] = ("*.txt", "*.md", "*.markdown", "*.pdf")
    recursive: bool = True
    settle_s: float = 2.0  # a file is read once its size and time have not changed for so long


@dataclass(frozen=True, kw_only=True)
class AgentDefinition:
    """What an agent's Markdown file says, checked. It is immutable: a change is a new revision."""

    name: str
    description: str
    kind: AgentKind
    triggers: tuple[FileTrigger, ...]
    read_folders: tuple[Path, ...]  # the capability: nothing outside is ever opened
    model: str = BUILT_IN_MODEL  # or the absolute path of a GGUF file
    notify: NotifyPolicy = NotifyPolicy.ALWAYS
    instructions: str = ""


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
    """One due time, before it has a row. (agent_id, key) is unique: that is what makes a file's version run once."""

    agent_id: int
    trigger: TriggerKind
    key: str
    due_at: datetime
    path: Path | None = None
    content_hash: str | None = None  # sha256 of the file's bytes, in hex
    size_bytes: int | None = None


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
    reason: str | None  # one sentence for the user when it failed or was cancelled
    path: Path | None
    content_hash: str | None
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int  # how often it was begun; 0 while it never was
    model: str | None
    prompt_tokens: int  # summed over its finished steps
    completion_tokens: int
    model_s: float  # seconds the model worked on them, reading and writing
    title: str | None  # of its result, when there is one

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


@dataclass(frozen=True, kw_only=True)
class NewResult:
    """What a digest hands over, before it has a row."""

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
