"""What an agent asks for, in the user's words, and what of it was not granted before."""

from __future__ import annotations

import shlex
from dataclasses import replace

from agents.core import BUILT_IN_MODEL, AgentDefinition
from agents.definitions.folders import inside_any


def asks_of(definition: AgentDefinition) -> tuple[str, ...]:
    """What the agent may touch, in the user's words."""
    asks = [f"read files in {folder}" for folder in definition.read_folders]
    if definition.write_folder is not None:
        asks.append(f"write files in {definition.write_folder}")
    asks += [f"ask the host {host} whether something has changed" for host in definition.hosts]
    asks += [f"run the command {shlex.join(command)}" for command in definition.commands]
    if definition.model != BUILT_IN_MODEL:
        asks.append(f"use the model file {definition.model}")
    return tuple(dict.fromkeys(asks))


def new_asks(old: AgentDefinition | None, new: AgentDefinition) -> tuple[str, ...]:
    """What `new` asks for beyond what `old` was granted. A folder inside a granted one is nothing new."""
    if old is None:
        return asks_of(new)
    writes = () if old.write_folder is None else (old.write_folder,)
    beyond = replace(
        new,
        read_folders=tuple(folder for folder in new.read_folders if not inside_any(folder, old.read_folders)),
        write_folder=None
        if new.write_folder is None or inside_any(new.write_folder, writes)
        else new.write_folder,
        hosts=tuple(host for host in new.hosts if host not in old.hosts),
        commands=tuple(command for command in new.commands if command not in old.commands),
        model=BUILT_IN_MODEL if new.model == old.model else new.model,
    )
    return asks_of(beyond)
