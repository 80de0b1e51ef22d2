"""Which files of a folder an agent means, by their names alone; pure."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents.core import AgentDefinition
from agents.runs.result_name import result_name
from agents.triggers import trigger_key

# What programs leave while they write: it becomes a document under another name, or never does.
_TEMPORARY = (
    ".*",
    "~$*",
    "*~",
    "#*#",
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.swp",
    "*.swo",
)


@dataclass(frozen=True, kw_only=True)
class FolderRule:
    """One folder of one trigger. `root` is the granted folder that it lies in: nothing outside is opened."""

    folder: Path
    root: Path
    patterns: tuple[str, ...]
    recursive: bool
    settle_s: float
    trigger_key: str
    storm_files: int  # more new versions of its trigger at once become one occurrence

    def wants(self, path: Path) -> bool:
        """Whether the rule is about a file at `path`. Letter case does not count: cameras and scanners write .PDF."""
        try:
            parts = path.relative_to(self.folder).parts
        except ValueError:
            return False
        if not parts or (len(parts) > 1 and not self.recursive):
            return False
        return self.wants_name(parts[-1]) and all(wants_folder(part) for part in parts[:-1])

    def wants_name(self, name: str) -> bool:
        lower = name.lower()
        if any(fnmatch.fnmatchcase(lower, pattern) for pattern in _TEMPORARY):
            return False
        return any(fnmatch.fnmatchcase(lower, pattern.lower()) for pattern in self.patterns)


def wants_folder(name: str) -> bool:
    """Whether to look into a folder of that name: hidden ones hold programs' own files."""
    return not name.startswith(".")


def rules_of(definition: AgentDefinition) -> Iterator[FolderRule]:
    """One rule for each folder of each trigger."""
    for trigger in definition.file_triggers:
        for folder in trigger.folders:
            granted = [root for root in definition.read_folders if folder == root or root in folder.parents]
            if granted:  # parse_definition refuses others
                yield FolderRule(
                    folder=folder,
                    root=max(granted, key=lambda root: len(os.fspath(root))),
                    patterns=trigger.patterns,
                    recursive=trigger.recursive,
                    settle_s=trigger.settle_s,
                    trigger_key=trigger_key(trigger),
                    storm_files=trigger.storm_files,
                )


def is_fed_by(reader: AgentDefinition, writer: AgentDefinition) -> bool:
    """Whether a result that `writer` writes as a file is a new file to `reader`. By the folders' names: links are not followed."""
    if writer.write_folder is None:
        return False
    written = writer.write_folder / result_name(
        writer.name, run_id=1, due_local=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return any(rule.wants(written) for rule in rules_of(reader))
