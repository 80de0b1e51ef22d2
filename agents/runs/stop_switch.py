"""The one switch that stops every agent: kept in the database, so that a restart does not let them go on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agents.clock import Clock

STOPPED_KEY = "agents_stopped"
STOPPED = "All agents are stopped."


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Since when, and why in the words of whoever did it."""

    at: datetime
    reason: str


class Notes(Protocol):
    """The part of the store that the switch needs."""

    async def get(self, key: str) -> str | None: ...
    async def set(self, key: str, value: str) -> None: ...


class StopSwitch:
    """Reads as what was set last, also while that could not be written yet."""

    def __init__(self, notes: Notes, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock
        self.stopped: Stopped | None = None

    async def load(self) -> None:
        """What an earlier runtime left."""
        text = await self._notes.get(STOPPED_KEY)
        if text:
            plain = json.loads(text)
            self.stopped = Stopped(at=datetime.fromisoformat(plain["at"]), reason=plain["reason"])

    async def stop(self, reason: str = STOPPED) -> None:
        """It holds from the call on; it is on the disk when this returns."""
        self.stopped = Stopped(at=self._clock.now(), reason=reason)
        plain = {"at": self.stopped.at.isoformat(), "reason": reason}
        await self._notes.set(STOPPED_KEY, json.dumps(plain))

    async def resume(self) -> None:
        """Lets the agents go on; not before that is on the disk, and not if somebody stopped them again meanwhile."""
        before = self.stopped
        await self._notes.set(STOPPED_KEY, "")
        if self.stopped is before:
            self.stopped = None
