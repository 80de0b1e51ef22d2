"""What one gate found out."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_STATE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A gate that can't be checked (a server is down, a disk is unplugged) is closed, so that nothing is spent blindly."""

    is_open: bool
    detail: str  # one line for the user
    state: str | None = field(default=None, repr=False)  # for the next check, once it has let a run through
