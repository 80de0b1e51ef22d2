"""An agent's Markdown file, read strictly into a definition and written back; and what a definition asks for, in words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from agents.core import BUILT_IN_MODEL, AgentDefinition, AgentKind, NotifyPolicy
from agents.errors import UsageProblem
from agents.front_matter import FENCE, Fields, Text, is_plain_line, read_front_matter, refuse
from agents.printable import printable
from agents.triggers import FileTrigger, TriggerKind

MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 500
MAX_INSTRUCTIONS_CHARS = 8_000
MAX_PATH_CHARS = 4_096
MAX_FOLDERS = 50
MAX_PATTERNS = 50
MAX_TRIGGERS = 20
SETTLE_RANGE_S = (0.1, 3_600.0)

_KEYS = ("name", "description", "kind", "triggers", "capabilities", "model", "notify")
_TRIGGER_KEYS = ("on", "folders", "patterns", "recursive", "settle_s")
_CAPABILITY_KEYS = ("read",)
_NAME = re.compile(r"[^\W_](?:[\w .-]*[\w-])?")  # it is shown, typed on a command line and part of a URL
_DEFAULTS = FileTrigger(folders=())


def parse_definition(source: str, *, home: Path, template: bool = False) -> AgentDefinition:
    """Reads an agent file: Markdown with YAML front matter. Raises UsageProblem, one sentence with the line.

    `home` is Hearth's own home directory, which no agent may touch; a leading `~` in a path is the user's.
    With `template`, lists of folders may be empty: that is how the agents that ship wait for the user's choice.
    Nothing but `~` is looked up on the disk; see check_folders.
    """
    document = read_front_matter(source, keys=_KEYS)
    fields = document.fields
    if len(document.body) > MAX_INSTRUCTIONS_CHARS:
        raise UsageProblem(
            f"The instructions are longer than {MAX_INSTRUCTIONS_CHARS:,} characters; shorten them."
        )
    name = fields.text("name", max_chars=MAX_NAME_CHARS)
    if not _NAME.fullmatch(name):
        refuse(
            fields.line_of("name"),
            "'name' may hold letters, digits, spaces, '-', '_' and '.', and begins with one of the first two.",
        )
    description = fields.text("description", max_chars=MAX_DESCRIPTION_CHARS)
    kind = AgentKind(_choice(fields, "kind", [kind.value for kind in AgentKind]))
    capabilities = fields.mapping("capabilities", keys=_CAPABILITY_KEYS)
    read_folders = tuple(folder for folder, _ in _folders(capabilities, "read", home, may_be_empty=template))
    triggers = fields.mappings("triggers", keys=_TRIGGER_KEYS, max_items=MAX_TRIGGERS)
    if not triggers:
        refuse(fields.line_of("triggers"), "'triggers' is empty; name at least one.")
    notify = NotifyPolicy.ALWAYS
    if "notify" in fields:
        notify = NotifyPolicy(_choice(fields, "notify", [policy.value for policy in NotifyPolicy]))
    return AgentDefinition(
        name=name,
        description=description,
        kind=kind,
        triggers=tuple(_trigger(trigger, read_folders, home, template) for trigger in triggers),
        read_folders=read_folders,
        model=_model(fields),
        notify=notify,
        instructions=document.body,
    )


def render_definition(definition: AgentDefinition) -> str:
    """The agent file that parse_definition reads as exactly this definition."""
    front: dict[str, Any] = {
        "name": definition.name,
        "description": definition.description,
        "kind": definition.kind.value,
        "triggers": [
            {
                "on": TriggerKind.FILE_CHANGED.value,
                "folders": [str(folder) for folder in trigger.folders],
                "patterns": list(trigger.patterns),
                "recursive": trigger.recursive,
                "settle_s": trigger.settle_s,
            }
            for trigger in definition.file_triggers
        ],
        "capabilities": {"read": [str(folder) for folder in definition.read_folders]},
        "model": definition.model,
        "notify": definition.notify.value,
    }
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=float("inf"))
    # PyYAML quotes the key because YAML 1.1 reads a bare one as true; parse_definition reads it as people write it.
    text = re.sub(r"^- 'on':", "- on:", text, flags=re.MULTILINE)
    body = f"\n{definition.instructions}\n" if definition.instructions else ""
    return f"{FENCE}\n{text}{FENCE}\n{body}"


def with_folders(definition: AgentDefinition, folders: Sequence[Path]) -> AgentDefinition:
    """The definition with other folders: every trigger watches them, and they are all that it may read."""
    chosen: list[Path] = []
    for folder in folders:
        path = Path(os.path.normpath(folder.expanduser()))
        if not path.is_absolute():
            raise UsageProblem(f"The folder {printable(path)} is not a full path; begin it with / or ~.")
        if not is_plain_line(str(path)):  # a name that is no UTF-8 too: no agent file could hold it
            raise UsageProblem(f"The folder name {printable(path)} can't be written down; rename the folder.")
        if path not in chosen:
            chosen.append(path)
    if not chosen:
        raise UsageProblem("No folder is named; name at least one.")
    if len(chosen) > MAX_FOLDERS:
        raise UsageProblem(f"An agent can watch {MAX_FOLDERS} folders at most; choose fewer.")
    triggers = tuple(
        replace(trigger, folders=tuple(chosen)) if isinstance(trigger, FileTrigger) else trigger
        for trigger in definition.triggers
    )
    return replace(definition, triggers=triggers, read_folders=tuple(chosen))


def asks_of(definition: AgentDefinition) -> tuple[str, ...]:
    """What the agent may touch, in the user's words."""
    asks = [f"read files in {folder}" for folder in definition.read_folders]
    if definition.model != BUILT_IN_MODEL:
        asks.append(f"use the model file {definition.model}")
    return tuple(dict.fromkeys(asks))


def new_asks(old: AgentDefinition | None, new: AgentDefinition) -> tuple[str, ...]:
    """What `new` asks for beyond what `old` was granted. A folder inside a granted one is nothing new."""
    if old is None:
        return asks_of(new)
    folders = tuple(folder for folder in new.read_folders if not _inside_any(folder, old.read_folders))
    model = BUILT_IN_MODEL if new.model == old.model else new.model
    return asks_of(replace(new, read_folders=folders, model=model))


def check_folders(definition: AgentDefinition, *, home: Path) -> None:
    """Raises UsageProblem for the first folder that can't be used right now, as the disk says."""
    for folder in dict.fromkeys((*definition.read_folders, *watched_folders(definition))):
        problem = folder_problem(folder, home)
        if problem is not None:
            raise UsageProblem(problem)
    readable = [Path(os.path.realpath(folder)) for folder in definition.read_folders]
    for folder in watched_folders(definition):
        if not _inside_any(Path(os.path.realpath(folder)), readable):
            raise UsageProblem(
                f"The folder {printable(folder)} leads by a symbolic link out of what the agent may read; "
                "name the folder that it leads to."
            )


def watched_folders(definition: AgentDefinition) -> tuple[Path, ...]:
    """All folders of all triggers, each once."""
    return tuple(dict.fromkeys(folder for trigger in definition.file_triggers for folder in trigger.folders))


def folder_problem(path: Path, home: Path) -> str | None:
    """One sentence when the folder can't be watched or read right now, else None. Reads the disk."""
    shown = printable(path)
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except FileNotFoundError:
        return f"The folder {shown} does not exist; create it or choose another one."
    except NotADirectoryError:
        return f"{shown} is a file, not a folder; choose a folder."
    except PermissionError:
        return f"Hearth may not read the folder {shown}; change its permissions or choose another one."
    except OSError as error:
        if error.errno == errno.EINVAL and path.is_file():  # Windows names it so
            return f"{shown} is a file, not a folder; choose a folder."
        return f"The folder {shown} can't be opened ({error.strerror}); choose another one."
    if _is_at_or_below(path, home):
        return f"The folder {shown} is inside Hearth's own home {printable(home)}; choose another one."
    if _is_at_or_below(home, path):
        return f"The folder {shown} contains Hearth's own home {printable(home)}; choose a folder beside it."
    return None


def _trigger(fields: Fields, read_folders: Sequence[Path], home: Path, template: bool) -> FileTrigger:
    _choice(fields, "on", [TriggerKind.FILE_CHANGED.value])
    folders: list[Path] = []
    for folder, line in _folders(fields, "folders", home, may_be_empty=template):
        if not _inside_any(folder, read_folders):
            refuse(line, f"the agent may not read {folder}; add it to 'read' under 'capabilities'.")
        folders.append(folder)
    return FileTrigger(
        folders=tuple(folders),
        patterns=_patterns(fields) if "patterns" in fields else _DEFAULTS.patterns,
        recursive=fields.flag("recursive") if "recursive" in fields else _DEFAULTS.recursive,
        settle_s=fields.number("settle_s", low=SETTLE_RANGE_S[0], high=SETTLE_RANGE_S[1])
        if "settle_s" in fields
        else _DEFAULTS.settle_s,
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


def _folders(fields: Fields, key: str, home: Path, *, may_be_empty: bool) -> list[tuple[Path, int]]:
    """Each folder once, with the line it was first named on."""
    folders: dict[Path, int] = {}
    for text in fields.texts(key, max_items=MAX_FOLDERS, max_chars=MAX_PATH_CHARS):
        folder = _absolute(text)
        if _inside_any(folder, (home,)):
            refuse(text.line, f"the folder {folder} is inside Hearth's own home; choose another one.")
        folders.setdefault(folder, text.line)
    if not folders and not may_be_empty:
        refuse(fields.line_of(key), f"'{key}' is empty; name at least one folder.")
    return list(folders.items())


def _absolute(text: Text) -> Path:
    try:
        path = Path(text.value).expanduser()
    except RuntimeError:  # ~somebody who is not known here
        refuse(text.line, f"nobody's home is known as {text.value}; write the full path.")
    if not path.is_absolute():
        refuse(text.line, f"'{text.value}' is not a full path; begin it with / or ~.")
    return Path(os.path.normpath(path))


def _model(fields: Fields) -> str:
    if "model" not in fields:
        return BUILT_IN_MODEL
    value = fields.text("model", max_chars=MAX_PATH_CHARS)
    if value == BUILT_IN_MODEL:
        return value
    if not value.startswith(("/", "~")) and not Path(value).is_absolute():
        refuse(
            fields.line_of("model"), f"'model' must be '{BUILT_IN_MODEL}' or the full path of a GGUF file."
        )
    return str(_absolute(Text(value=value, line=fields.line_of("model"))))


def _choice(fields: Fields, key: str, choices: Sequence[str]) -> str:
    value = fields.text(key, max_chars=100)
    if value not in choices:
        words = " or ".join(f"'{choice}'" for choice in choices)
        refuse(fields.line_of(key), f"'{key}' must be {words}.")
    return value


def _inside_any(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _is_at_or_below(path: Path, folder: Path) -> bool:
    """By the names after all links are followed, and by identity, which sees bind mounts and letter case too."""
    real, real_folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if _inside_any(real, (real_folder,)):
        return True
    try:
        return any(part.samefile(real_folder) for part in (real, *real.parents) if part.exists())
    except OSError:  # one of them is not there (yet), so the names have decided
        return False
