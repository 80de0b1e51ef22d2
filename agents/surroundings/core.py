"""What is known of the computer and its user, and who looks: frozen values and a protocol, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """One look around. None means that nothing on this computer tells, never that something is not so."""

    on_ac: bool | None = None  # plugged in, or without any battery
    battery_percent: float | None = None  # of all batteries together
    saver: bool | None = None  # the user has asked the system to save energy
    idle_s: float | None = None  # since somebody touched the computer; 0 where only "not idle" is told
    full_screen: bool | None = None  # a film, a game or a talk fills the screen
    locked: bool | None = None
    other_load: float | None = None  # 0 to 1 of all processors, by other programs, at least so much for 30 s
    temperature_c: float | None = None  # of the processor
    metered: bool | None = None  # the network costs by the byte
    talking: bool | None = None  # somebody is in a conversation with the model


class Prober(Protocol):
    """Looks at one kind of system. It never blocks the event loop and never raises: what it can't tell is None."""

    async def look(self) -> Surroundings:
        """What the system tells now; load, conversation and what the desktop tells are added by the service."""
        ...

    async def close(self) -> None:
        """Ends what it holds open."""
        ...


class BlindProber:
    """Knows nothing, for systems that Hearth can't ask."""

    async def look(self) -> Surroundings:
        return Surroundings()

    async def close(self) -> None:
        return None
