"""How the file of a result is called. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

MAX_NAME_CHARS = 60


def result_name(agent_name: str, *, run_id: int, due_local: datetime) -> str:
    """From the agent's name and the due time by the user's clock, for people; the run's number makes it the only one."""
    plain = unicodedata.normalize("NFC", agent_name)
    slug = re.sub(r"[^\w]+", "-", plain).strip("-_.").lower()[:MAX_NAME_CHARS] or "agent"
    return f"{slug} {due_local:%Y-%m-%d %H.%M} run {run_id}.md"
