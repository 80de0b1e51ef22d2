"""Reads an agent's Markdown file strictly into a definition: every problem is one sentence with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from agents.core import BUILT_IN_MODEL, AgentDefinition, AgentKind, NotifyPolicy
from agents.definitions import gate_fields, trigger_fields
from agents.definitions.capability_fields import read_capabilities, read_output
from agents.definitions.folders import absolute
from agents.definitions.gate_fields import read_gates
from agents.definitions.limits import (
    MAX_DESCRIPTION_CHARS,
    MAX_INSTRUCTIONS_CHARS,
    MAX_NAME_CHARS,
    MAX_PATH_CHARS,
)
from agents.definitions.policy_fields import POLICY_KEYS, read_policy
from agents.definitions.trigger_fields import read_triggers
from agents.definitions.zones import local_zone
from agents.front_matter import Fields, Text, read_front_matter, refuse

_KEYS = (
    "name",
    "description",
    "kind",
    "triggers",
    "gates",
    "capabilities",
    "output",
    *POLICY_KEYS,
    "model",
    "notify",
)
_NAME = re.compile(r"[^\W_](?:[\w .-]*[\w-])?")  # it is shown, typed on a command line and part of a URL


def parse_definition(
    source: str,
    *,
    home: Path,
    template: bool = False,
    zone: str | None = None,
    program_problem: Callable[[str], str | None] = lambda _: None,
) -> AgentDefinition:
    """Reads an agent file: Markdown with YAML front matter. Raises UsageProblem, one sentence with the line.

    `home` is Hearth's own home directory, which no agent may touch; a leading `~` in a path is the user's.
    `zone` is the time zone of what names none: the computer's, as it is now.
    With `template`, lists of folders may be empty: that is how the agents that ship wait for the user's choice.
    `program_problem` says why a program can't be granted.
    Nothing but `~` is looked up on the disk, unless that does so; see check_folders.
    """
    document = read_front_matter(source, keys=_KEYS)
    fields = document.fields
    if len(document.body) > MAX_INSTRUCTIONS_CHARS:
        refuse(
            document.end_line,
            f"the instructions below are longer than {MAX_INSTRUCTIONS_CHARS:,} characters; shorten them.",
        )
    name = fields.text("name", max_chars=MAX_NAME_CHARS)
    if not _NAME.fullmatch(name):
        refuse(
            fields.line_of("name"),
            "'name' may hold letters, digits, spaces, '-', '_' and '.', and begins with a letter or a digit.",
        )
    description = fields.text("description", max_chars=MAX_DESCRIPTION_CHARS)
    kind = AgentKind(fields.choice("kind", [kind.value for kind in AgentKind]))
    if kind is AgentKind.WRITE and not document.body:
        refuse(document.end_line, "there are no instructions; write what the agent is to do below this line.")
    zone = zone or local_zone()
    granted = read_capabilities(fields, kind, home=home, template=template, program_problem=program_problem)
    triggers = read_triggers(
        fields,
        kind,
        trigger_fields.Around(read_folders=granted.read, home=home, zone=zone, template=template),
    )
    return AgentDefinition(
        name=name,
        description=description,
        kind=kind,
        triggers=triggers,
        read_folders=granted.read,
        gates=read_gates(fields, gate_fields.Around(capabilities=granted, home=home, zone=zone)),
        hosts=granted.hosts,
        commands=granted.commands,
        write_folder=read_output(fields, granted, home=home),
        policy=read_policy(fields),
        model=_model(fields),
        notify=NotifyPolicy(fields.choice("notify", [policy.value for policy in NotifyPolicy]))
        if "notify" in fields
        else NotifyPolicy.ALWAYS,
        instructions=document.body,
    )


def trigger_lines(source: str) -> list[int]:
    """The line of each trigger, in the order of the definition's, of a file that parse_definition takes."""
    return read_front_matter(source, keys=_KEYS).fields.lines_of("triggers")


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
    return str(absolute(Text(value=value, line=fields.line_of("model"))))
