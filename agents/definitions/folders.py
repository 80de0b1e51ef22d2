"""The folders of an agent: how they are named in its file, chosen by the user, and looked at on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from agents.core import AgentDefinition
from agents.definitions.limits import MAX_FOLDERS, MAX_PATH_CHARS
from agents.errors import UsageProblem
from agents.front_matter import Fields, Text, is_plain_line, refuse
from agents.printable import printable
from agents.triggers import ChangedGate, FileTrigger


def read_paths(fields: Fields, key: str, home: Path, *, may_be_empty: bool = False) -> list[tuple[Path, int]]:
    """Each path under `key` once, with the line it was first named on; none inside Hearth's own `home`."""
    paths: dict[Path, int] = {}
    for text in fields.texts(key, max_items=MAX_FOLDERS, max_chars=MAX_PATH_CHARS):
        paths.setdefault(outside_home(text, home), text.line)
    if not paths and not may_be_empty:
        refuse(fields.line_of(key), f"'{key}' is empty; name at least one folder.")
    return list(paths.items())


def outside_home(text: Text, home: Path) -> Path:
    path = absolute(text)
    if inside_any(path, (home,)):
        refuse(text.line, f"the folder {path} is inside Hearth's own home; choose another one.")
    return path


def absolute(text: Text) -> Path:
    try:
        path = Path(text.value).expanduser()
    except RuntimeError:  # ~somebody who is not known here
        refuse(text.line, f"nobody's home is known as {text.value}; write the full path.")
    if not path.is_absolute():
        refuse(text.line, f"'{text.value}' is not a full path; begin it with / or ~.")
    return Path(os.path.normpath(path))


def inside_any(path: Path, folders: Iterable[Path]) -> bool:
    """By name alone."""
    return any(path == folder or folder in path.parents for folder in folders)


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
    for path in gate_paths(definition):
        if not inside_any(path, chosen):
            raise UsageProblem(
                f"A gate of this agent looks at {printable(path)}, which lies in none of those folders; "
                "change the gate first with `hearth agents edit`."
            )
    triggers = tuple(
        replace(trigger, folders=tuple(chosen)) if isinstance(trigger, FileTrigger) else trigger
        for trigger in definition.triggers
    )
    return replace(definition, triggers=triggers, read_folders=tuple(chosen))


def watched_folders(definition: AgentDefinition) -> tuple[Path, ...]:
    """All folders of all triggers, each once."""
    return tuple(dict.fromkeys(folder for trigger in definition.file_triggers for folder in trigger.folders))


def gate_paths(definition: AgentDefinition) -> tuple[Path, ...]:
    """All files and folders that gates look at, each once."""
    gates = (gate for gate in definition.gates if isinstance(gate, ChangedGate))
    return tuple(dict.fromkeys(path for gate in gates for path in gate.paths))


def check_folders(definition: AgentDefinition, *, home: Path) -> None:
    """Raises UsageProblem for the first folder that can't be used right now, as the disk says."""
    output = () if definition.write_folder is None else (definition.write_folder,)
    for folder in dict.fromkeys((*definition.read_folders, *watched_folders(definition), *output)):
        problem = folder_problem(folder, home)
        if problem is not None:
            raise UsageProblem(problem)
    if definition.write_folder is not None and not os.access(definition.write_folder, os.W_OK | os.X_OK):
        raise UsageProblem(
            f"Hearth may not write in the folder {printable(definition.write_folder)}; "
            "change its permissions or choose another one."
        )
    readable = [Path(os.path.realpath(folder)) for folder in definition.read_folders]
    for path in (*watched_folders(definition), *gate_paths(definition)):
        if not inside_any(Path(os.path.realpath(path)), readable):
            raise UsageProblem(
                f"The folder {printable(path)} leads by a symbolic link out of what the agent may read; "
                "name the folder that it leads to."
            )


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


def _is_at_or_below(path: Path, folder: Path) -> bool:
    """By the names after all links are followed, and by identity, which sees bind mounts and letter case too."""
    real, real_folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if inside_any(real, (real_folder,)):
        return True
    try:
        return any(part.samefile(real_folder) for part in (real, *real.parents) if part.exists())
    except OSError:  # one of them is not there (yet), so the names have decided
        return False
