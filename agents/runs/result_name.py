"""How the file of a result is called. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

MAX_NAME_BYTES = 180  # a file's whole name has 255 at most, on most disks


def result_name(agent_name: str, *, run_id: int, due_local: datetime) -> str:
    """From the agent's name and the due time by the user's clock, for people; the run's number makes it the only one."""
    plain = unicodedata.normalize("NFC", agent_name)
    slug = re.sub(r"[^\w]+", "-", plain).strip("-_.").lower()
    short = slug.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore") or "agent"
    return f"{short} {due_local:%Y-%m-%d %H.%M} run {run_id}.md"
