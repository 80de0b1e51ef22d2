"""Reads the triggers of an agent file: what makes it wake."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.core import AgentKind
from agents.definitions.durations import read_duration
from agents.definitions.folders import inside_any, read_paths
from agents.definitions.limits import (
    EVERY_RANGE_S,
    IDLE_RANGE_S,
    MAX_NAME_CHARS,
    MAX_PATTERNS,
    MAX_STORM_FILES,
    MAX_TRIGGERS,
    MAX_WORDS_CHARS,
    SETTLE_RANGE_S,
)
from agents.definitions.zones import read_moment, read_zone
from agents.front_matter import Fields, refuse
from agents.scheduling.due_times import check_cron
from agents.triggers import (
    CronTrigger,
    FileTrigger,
    IdleTrigger,
    IntervalTrigger,
    OnceTrigger,
    ResultKind,
    ResultTrigger,
    StartTrigger,
    Trigger,
    TriggerKind,
    WakeTrigger,
    WebhookTrigger,
    trigger_key,
)

_DEFAULTS = FileTrigger(folders=())
_HOOK = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Around:
    """What a trigger is read by, beside its own lines."""

    read_folders: tuple[Path, ...]
    home: Path
    zone: str  # of the computer
    template: bool


def read_triggers(fields: Fields, kind: AgentKind, around: Around) -> tuple[Trigger, ...]:
    found: dict[str, Trigger] = {}
    for item in fields.kinds("triggers", by="on", keys=_KEYS, max_items=MAX_TRIGGERS):
        word = item.text("on", max_chars=MAX_WORDS_CHARS)
        if kind is AgentKind.DIGEST and word != TriggerKind.FILE_CHANGED:
            refuse(
                item.line_of("on"),
                f"a '{kind}' reads a document, and '{word}' brings none; "
                f"use 'file_changed', or the kind '{AgentKind.WRITE}'.",
            )
        trigger = _READERS[word](item, around)
        if found.setdefault(trigger_key(trigger), trigger) is not trigger:
            refuse(item.line, "the same trigger is there twice; keep one of them.")
    if not found and kind is AgentKind.DIGEST:
        refuse(fields.line_of("triggers"), "'triggers' is empty; name at least one.")
    return tuple(found.values())


def _cron(fields: Fields, around: Around) -> Trigger:
    schedule = fields.written("schedule", max_chars=MAX_WORDS_CHARS)
    try:
        check_cron(schedule.value)
    except ValueError as error:
        refuse(schedule.line, f"'schedule': {error}")
    return CronTrigger(schedule=schedule.value, zone=read_zone(fields, around.zone))


def _interval(fields: Fields, _: Around) -> Trigger:
    return IntervalTrigger(every_s=read_duration(fields, "every", EVERY_RANGE_S))


def _once(fields: Fields, around: Around) -> Trigger:
    zone = read_zone(fields, around.zone)
    return OnceTrigger(at=read_moment(fields, "at", zone), zone=zone)


def _file_changed(fields: Fields, around: Around) -> Trigger:
    folders: list[Path] = []
    for folder, line in read_paths(fields, "folders", around.home, may_be_empty=around.template):
        if not inside_any(folder, around.read_folders):
            refuse(line, f"the agent may not read {folder}; add it to 'read' under 'capabilities'.")
        folders.append(folder)
    low_s, high_s = SETTLE_RANGE_S
    return FileTrigger(
        folders=tuple(folders),
        patterns=_patterns(fields) if "patterns" in fields else _DEFAULTS.patterns,
        recursive=fields.flag("recursive") if "recursive" in fields else _DEFAULTS.recursive,
        settle_s=fields.number("settle_s", low=low_s, high=high_s)
        if "settle_s" in fields
        else _DEFAULTS.settle_s,
        storm_files=fields.whole_number("storm_files", low=1, high=MAX_STORM_FILES)
        if "storm_files" in fields
        else _DEFAULTS.storm_files,
    )


def _patterns(fields: Fields) -> tuple[str, ...]:
    patterns = fields.texts("patterns", max_items=MAX_PATTERNS, max_chars=255)
    if not patterns:
        refuse(fields.line_of("patterns"), "'patterns' is empty; name at least one, such as '*.txt'.")
    for pattern in patterns:
        if "/" in pattern.value:
            refuse(
                pattern.line,
                f"the pattern '{pattern.value}' has a '/'; patterns are for the file's name only.",
            )
    return tuple(dict.fromkeys(pattern.value for pattern in patterns))


def _start(_: Fields, __: Around) -> Trigger:
    return StartTrigger()


def _wake(_: Fields, __: Around) -> Trigger:
    return WakeTrigger()


def _idle(fields: Fields, _: Around) -> Trigger:
    return IdleTrigger(after_s=read_duration(fields, "after", IDLE_RANGE_S))


def _webhook(fields: Fields, _: Around) -> Trigger:
    hook = fields.written("hook", max_chars=MAX_WORDS_CHARS)
    if not _HOOK.fullmatch(hook.value):  # it is part of a URL
        refuse(
            hook.line,
            "'hook' may be 64 characters long; it holds small letters, digits, '.', '_' and '-', "
            "and begins with a letter or a digit.",
        )
    return WebhookTrigger(hook=hook.value)


def _result(fields: Fields, _: Around) -> Trigger:
    when = ResultKind.SUCCEEDED
    if "when" in fields:
        when = ResultKind(fields.choice("when", [kind.value for kind in ResultKind]))
    return ResultTrigger(agent=fields.text("agent", max_chars=MAX_NAME_CHARS), when=when)


_KEYS: Mapping[str, Sequence[str]] = {
    TriggerKind.CRON: ("schedule", "zone"),
    TriggerKind.INTERVAL: ("every",),
    TriggerKind.ONCE: ("at", "zone"),
    TriggerKind.FILE_CHANGED: ("folders", "patterns", "recursive", "settle_s", "storm_files"),
    TriggerKind.START: (),
    TriggerKind.WAKE: (),
    TriggerKind.IDLE: ("after",),
    TriggerKind.WEBHOOK: ("hook",),
    TriggerKind.RESULT: ("agent", "when"),
}
_READERS: Mapping[str, Callable[[Fields, Around], Trigger]] = {
    TriggerKind.CRON: _cron,
    TriggerKind.INTERVAL: _interval,
    TriggerKind.ONCE: _once,
    TriggerKind.FILE_CHANGED: _file_changed,
    TriggerKind.START: _start,
    TriggerKind.WAKE: _wake,
    TriggerKind.IDLE: _idle,
    TriggerKind.WEBHOOK: _webhook,
    TriggerKind.RESULT: _result,
}
