"""The fixed beginnings of an agent's prompts, under the names that the engine keeps them by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FixedPrompt(StrEnum):
    """Which of an agent's questions; each begins alike, whatever the document is."""

    PART = "part"
    WHOLE = "whole"
    QUOTED_WHOLE = "quoted-whole"  # asked again when an answer was not grounded
    WRITE = "write"


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """The first messages of a question that are the same each time."""

    prompt: FixedPrompt
    n_messages: int


def prefix_name(agent_id: int, prompt: FixedPrompt) -> str:
    """Stands for what an agent's prompts begin with; says nothing about the agent."""
    return f"agent-{agent_id}-{prompt.value}"


def prefix_names(agent_id: int) -> list[str]:
    """All names that an agent's prefixes may be kept under."""
    return [prefix_name(agent_id, prompt) for prompt in FixedPrompt]
