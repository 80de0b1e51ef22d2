"""What makes an agent wake, and what must hold before it spends a token: frozen values without I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter


class TriggerKind(StrEnum):
    """What makes an occurrence."""

    CRON = "cron"  # times by the wall clock of a time zone
    INTERVAL = "interval"  # every so often, counted from when it was armed
    ONCE = "once"  # one moment
    FILE_CHANGED = "file_changed"  # a new version of a file in a watched folder
    START = "start"  # the runtime has started
    WAKE = "wake"  # the computer has woken from sleep
    IDLE = "idle"  # nobody has touched the computer for a while
    WEBHOOK = "webhook"  # a program called the local API
    RESULT = "result"  # a run of another agent has ended
    MANUAL = "manual"  # somebody asked for it


class ResultKind(StrEnum):
    """Which ends of another agent's run wake this one."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ANY = "any"


@dataclass(frozen=True, kw_only=True)
class CronTrigger:
    """Five cron fields, by the wall clock of `zone` (an IANA name), through daylight saving as Debian's cron does it."""

    schedule: str
    zone: str
    on: Literal[TriggerKind.CRON] = TriggerKind.CRON


@dataclass(frozen=True, kw_only=True)
class IntervalTrigger:
    """Due at its anchor plus whole multiples of `every_s`: late runs move nothing."""

    every_s: float
    on: Literal[TriggerKind.INTERVAL] = TriggerKind.INTERVAL


@dataclass(frozen=True, kw_only=True)
class OnceTrigger:
    """Due at one moment; `zone` is for telling it in words."""

    at: datetime
    zone: str
    on: Literal[TriggerKind.ONCE] = TriggerKind.ONCE


@dataclass(frozen=True, kw_only=True)
class FileTrigger:
    """Watches folders for new versions of files. `patterns` are shell globs on the file's name.

    More than `storm_files` new versions in one look become one run that tells about all of them.
    """

    folders: tuple[Path, ...]
    patterns: tuple[str, ...] = ("*.txt", "*.md", "*.markdown", "*.pdf")
    recursive: bool = True
    settle_s: float = 2.0  # a file is read once its size and time have not changed for so long
    storm_files: int = 200
    on: Literal[TriggerKind.FILE_CHANGED] = TriggerKind.FILE_CHANGED


@dataclass(frozen=True, kw_only=True)
class StartTrigger:
    """Due once for each start of the runtime."""

    on: Literal[TriggerKind.START] = TriggerKind.START


@dataclass(frozen=True, kw_only=True)
class WakeTrigger:
    """Due once for each time that the computer wakes."""

    on: Literal[TriggerKind.WAKE] = TriggerKind.WAKE


@dataclass(frozen=True, kw_only=True)
class IdleTrigger:
    """Due once for each time that nobody touched the computer for `after_s`."""

    after_s: float
    on: Literal[TriggerKind.IDLE] = TriggerKind.IDLE


@dataclass(frozen=True, kw_only=True)
class WebhookTrigger:
    """Due at each call of /v1/hooks/{hook}; the call's body is the run's input. A hook belongs to one agent."""

    hook: str
    on: Literal[TriggerKind.WEBHOOK] = TriggerKind.WEBHOOK


@dataclass(frozen=True, kw_only=True)
class ResultTrigger:
    """Due when a run of `agent` has ended so; its result is the run's input."""

    agent: str
    when: ResultKind = ResultKind.SUCCEEDED
    on: Literal[TriggerKind.RESULT] = TriggerKind.RESULT


TimedTrigger = CronTrigger | IntervalTrigger | OnceTrigger
"""Triggers whose due times can be computed ahead."""

Trigger = Annotated[
    CronTrigger
    | IntervalTrigger
    | OnceTrigger
    | FileTrigger
    | StartTrigger
    | WakeTrigger
    | IdleTrigger
    | WebhookTrigger
    | ResultTrigger,
    Field(discriminator="on"),
]

TRIGGER: TypeAdapter[Trigger] = TypeAdapter(Trigger)


def trigger_key(trigger: Trigger) -> str:
    """Names a trigger within its agent: the same for the same words, in whichever revision they stand."""
    digest = hashlib.sha256(TRIGGER.dump_json(trigger)).hexdigest()
    return f"{trigger.on.value}:{digest[:16]}"


class GateKind(StrEnum):
    """What a gate looks at, without a model."""

    CHANGED = "changed"  # files or folders have changed since the last run that it let through
    URL = "url"  # so has what a web address serves
    HOURS = "hours"  # it is a time of day, and a day, at which the agent may work
    AC_POWER = "ac_power"  # the computer is plugged in
    MEMORY = "memory"  # so many things are remembered about something
    COMMAND = "command"  # a granted command ends with exit code 0


@dataclass(frozen=True, kw_only=True)
class ChangedGate:
    """Open when names, sizes or contents under `paths` differ from what they were when it last let a run through."""

    paths: tuple[Path, ...]
    check: Literal[GateKind.CHANGED] = GateKind.CHANGED


@dataclass(frozen=True, kw_only=True)
class UrlGate:
    """Open when the ETag of a granted host's page, or without one the hash of its body, has changed."""

    url: str
    check: Literal[GateKind.URL] = GateKind.URL


@dataclass(frozen=True, kw_only=True)
class HoursGate:
    """Open from `start` to `end` (over midnight too) on `days` (0 is Monday), by the wall clock of `zone`."""

    start: time
    end: time
    zone: str
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    check: Literal[GateKind.HOURS] = GateKind.HOURS


@dataclass(frozen=True, kw_only=True)
class PowerGate:
    """Open while the computer is plugged in, or has no battery."""

    check: Literal[GateKind.AC_POWER] = GateKind.AC_POWER


@dataclass(frozen=True, kw_only=True)
class MemoryGate:
    """Open when at least `at_least` remembered things hold all words of `query`."""

    query: str
    at_least: int = 1
    check: Literal[GateKind.MEMORY] = GateKind.MEMORY


@dataclass(frozen=True, kw_only=True)
class CommandGate:
    """Open when the command ends with exit code 0 in time. It runs without a shell, and exactly so it was granted."""

    argv: tuple[str, ...]
    timeout_s: float = 10.0
    check: Literal[GateKind.COMMAND] = GateKind.COMMAND


Gate = Annotated[
    ChangedGate | UrlGate | HoursGate | PowerGate | MemoryGate | CommandGate,
    Field(discriminator="check"),
]

GATE: TypeAdapter[Gate] = TypeAdapter(Gate)


def gate_key(gate: Gate) -> str:
    """Names a gate within its agent, as trigger_key names triggers: what it saw last is kept under it."""
    digest = hashlib.sha256(GATE.dump_json(gate)).hexdigest()
    return f"{gate.check.value}:{digest[:16]}"
