"""Who asks and how urgently, as two headers say: `x-hearth-priority` and `x-hearth-agent`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.api.refusals import invalid
from engine.core import Message, PinnedPrefix, Priority

PRIORITY_HEADER = "x-hearth-priority"
AGENT_HEADER = "x-hearth-agent"
AGENT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?")
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A program that uses the API. Its name is what it says, so it counts for logs, numbers and caches alone."""

    priority: Priority = Priority.NORMAL
    agent: str | None = None

    def prefix_of(self, messages: Sequence[Message]) -> PinnedPrefix | None:
        """A named caller's system messages are kept computed. The name is apart from those of Hearth's own agents."""
        n_system = 0
        while n_system < len(messages) and messages[n_system].role == "system":
            n_system += 1
        if self.agent is None or n_system == 0:
            return None
        return PinnedPrefix(name=f"api-{self.agent}", n_messages=n_system)


def caller_of(headers: Mapping[str, str]) -> Caller:
    """Reads both headers. Raises Refusal (400) for a word or a name that is none."""
    word = headers.get(PRIORITY_HEADER, Priority.NORMAL.name.lower())
    if word not in _PRIORITIES:
        raise invalid(
            f"The header {PRIORITY_HEADER} must be one of {', '.join(_PRIORITIES)}.", param=PRIORITY_HEADER
        )
    agent = headers.get(AGENT_HEADER)
    if agent is not None and not AGENT_NAME.fullmatch(agent):
        raise invalid(
            f"The header {AGENT_HEADER} must be a name of 1 to 64 letters, digits, blanks, dots, dashes or underscores.",
            param=AGENT_HEADER,
        )
    return Caller(priority=_PRIORITIES[word], agent=agent)
