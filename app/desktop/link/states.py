"""Where the line to the runtime can stand."""

from __future__ import annotations

from enum import StrEnum


class LinkState(StrEnum):
    """Where the line stands."""

    IDLE = "idle"  # not opened yet
    CONNECTING = "connecting"  # asking whether a runtime answers
    STARTING = "starting"  # a runtime is being started
    CONNECTED = "connected"  # the world is true
    RECONNECTING = "reconnecting"  # the runtime went away; what is shown may be old
    NEEDS_KEY = "needs_key"  # the user must say how the database is kept; `sentence` says why
    STOPPED = "stopped"  # somebody stopped the runtime in order
    FAILED = "failed"  # `sentence` says why
    CLOSED = "closed"

    @property
    def waits_for_user(self) -> bool:
        return self in (LinkState.NEEDS_KEY, LinkState.STOPPED, LinkState.FAILED)
