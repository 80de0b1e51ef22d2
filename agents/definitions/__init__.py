"""An agent's Markdown file, read strictly into a definition and written back; and what a definition asks for, in words."""

from agents.definitions.consent import asks_of, new_asks
from agents.definitions.folders import (
    check_folders,
    folder_problem,
    gate_paths,
    watched_folders,
    with_folders,
)
from agents.definitions.reading import parse_definition, trigger_lines
from agents.definitions.rendering import render_definition
from agents.definitions.words import gate_in_words, policies_in_words
from agents.definitions.zones import local_zone

__all__ = [
    "asks_of",
    "check_folders",
    "folder_problem",
    "gate_in_words",
    "gate_paths",
    "local_zone",
    "new_asks",
    "parse_definition",
    "policies_in_words",
    "render_definition",
    "trigger_lines",
    "watched_folders",
    "with_folders",
]
