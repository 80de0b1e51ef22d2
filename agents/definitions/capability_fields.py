"""Reads what an agent file asks to be allowed: folders, hosts and commands. Gates may use nothing beyond it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agents.core import AgentKind
from agents.definitions.folders import inside_any, outside_home, read_paths
from agents.definitions.limits import MAX_COMMANDS, MAX_HOSTS, MAX_PATH_CHARS
from agents.front_matter import Fields, Text, refuse

CAPABILITY_KEYS = ("read", "write", "hosts", "commands")
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.ASCII)
_MAX_HOST_CHARS = 253
_MAX_PART_CHARS = 4_096


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """All that an agent may touch outside of Hearth."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()


def read_capabilities(
    fields: Fields,
    kind: AgentKind,
    *,
    home: Path,
    template: bool,
    program_problem: Callable[[str], str | None],
) -> Capabilities:
    if "capabilities" not in fields and kind is not AgentKind.DIGEST:
        return Capabilities()
    inner = fields.mapping("capabilities", keys=CAPABILITY_KEYS)
    read: tuple[Path, ...] = ()
    if "read" in inner or kind is AgentKind.DIGEST:
        may_be_empty = template or kind is not AgentKind.DIGEST
        read = tuple(path for path, _ in read_paths(inner, "read", home, may_be_empty=may_be_empty))
    write = read_paths(inner, "write", home) if "write" in inner else []
    if len(write) > 1:
        refuse(write[1][1], "an agent writes in one folder only; keep one under 'write'.")
    return Capabilities(
        read=read,
        write=tuple(path for path, _ in write),
        hosts=_hosts(inner) if "hosts" in inner else (),
        commands=_commands(inner, program_problem) if "commands" in inner else (),
    )


def read_output(fields: Fields, capabilities: Capabilities, *, home: Path) -> Path | None:
    """The folder that results are also written to."""
    if "output" not in fields:
        if capabilities.write:
            refuse(
                fields.line_of("capabilities"),
                "'write' is asked for, but nothing is written; add 'output' with its 'folder'.",
            )
        return None
    inner = fields.mapping("output", keys=("folder",))
    text = Text(value=inner.text("folder", max_chars=MAX_PATH_CHARS), line=inner.line_of("folder"))
    folder = outside_home(text, home)
    if not inside_any(folder, capabilities.write):
        refuse(text.line, f"the agent may not write in {folder}; add it to 'write' under 'capabilities'.")
    return folder


def _hosts(fields: Fields) -> tuple[str, ...]:
    hosts: dict[str, None] = {}
    for text in fields.texts("hosts", max_items=MAX_HOSTS, max_chars=_MAX_HOST_CHARS):
        host = text.value.lower()
        if not _HOST.fullmatch(host) and not _is_address(host):
            refuse(
                text.line,
                f"'{text.value}' is no host name; write it without scheme, port and path: example.org.",
            )
        hosts[host] = None
    return tuple(hosts)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _commands(fields: Fields, program_problem: Callable[[str], str | None]) -> tuple[tuple[str, ...], ...]:
    commands: dict[tuple[str, ...], None] = {}
    for parts in fields.text_lists("commands", max_items=MAX_COMMANDS, max_chars=_MAX_PART_CHARS):
        if not Path(parts[0].value).is_absolute():
            refuse(
                parts[0].line,
                f"'{parts[0].value}' is not a full path; name the program as /usr/bin/… .",
            )
        problem = program_problem(parts[0].value)
        if problem is not None:
            refuse(parts[0].line, f"{problem}; grant another command.")
        commands[tuple(part.value for part in parts)] = None
    return tuple(commands)
