"""The one switch that stops every agent: kept in the database, so that a restart does not let them go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agents.clock import Clock
from agents.errors import StoreProblem

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
    """Whoever used it last is right, also while that can't be written; then it is tried again until it is on the disk."""

    def __init__(self, notes: Notes, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock
        self._writing = asyncio.Lock()
        self.stopped: Stopped | None = None
        self.is_written = True

    async def load(self) -> None:
        """What an earlier runtime left."""
        text = await self._notes.get(STOPPED_KEY)
        if text:
            plain = json.loads(text)
            self.stopped = Stopped(at=datetime.fromisoformat(plain["at"]), reason=plain["reason"])

    async def stop(self, reason: str = STOPPED) -> None:
        """It holds from the call on; when this returns it is on the disk, or owed to it."""
        await self._turn(Stopped(at=self._clock.now(), reason=reason))

    async def resume(self) -> None:
        """Lets the agents go on; when this returns that is on the disk, or owed to it."""
        await self._turn(None)

    async def write_owed(self) -> None:
        """Writes down how it stands, if that is owed. Raises StoreProblem while it can't be."""
        async with self._writing:
            if self.is_written:
                return
            stands = self.stopped
            plain = {"at": stands.at.isoformat(), "reason": stands.reason} if stands else None
            await self._notes.set(STOPPED_KEY, json.dumps(plain) if plain else "")
            self.is_written = self.stopped is stands  # else somebody used it meanwhile, who writes next

    async def _turn(self, stopped: Stopped | None) -> None:
        self.stopped = stopped
        self.is_written = False
        with contextlib.suppress(StoreProblem):
            await self.write_owed()
