"""What the scheduler needs of others: the ledger's due times, the gates, and who is told of what it decides."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from agents.core import (
    Agent,
    FileState,
    GateOutcome,
    HeldBy,
    NewOccurrence,
    Occurrence,
    OccurrenceStatus,
    Owner,
    Run,
)
from agents.policies import Budget


class DueTimes(Protocol):
    """The ledger's due times; see agents.storage.schedule_store for what each method promises."""

    async def plan(self, rows: Sequence[NewOccurrence]) -> int: ...

    async def withdraw(self, agent_id: int, *, keep: Collection[str] = ()) -> int: ...

    async def anchors(self) -> Mapping[tuple[int, str], datetime]: ...

    async def armed(self, agent_id: int | None = None) -> builtins.list[Occurrence]: ...

    async def next_due(self) -> datetime | None: ...

    async def due(self, now: datetime, *, limit: int) -> builtins.list[Occurrence]: ...

    async def claim(
        self, ids: Sequence[int], *, owner: Owner, plan: Sequence[NewOccurrence]
    ) -> builtins.list[Occurrence]: ...

    async def admit(
        self,
        occurrence_id: int,
        *,
        fence: int,
        gates: Sequence[GateOutcome],
        not_before: datetime | None = None,
    ) -> Run: ...

    async def end(
        self,
        occurrence_id: int,
        *,
        fence: int,
        status: OccurrenceStatus,
        reason: str,
        gates: Sequence[GateOutcome] = (),
    ) -> Occurrence: ...

    async def put_off(
        self, occurrence_id: int, *, fence: int, until: datetime, held_by: HeldBy, reason: str
    ) -> Occurrence: ...

    async def release(self, *, agent_id: int | None = None, held_by: HeldBy | None = None) -> int: ...

    async def take_back_future(self) -> int: ...

    async def record_missed(self, rows: Sequence[tuple[NewOccurrence, str]]) -> int: ...

    async def announce(
        self,
        new: NewOccurrence,
        *,
        file_states: Sequence[FileState] = (),
        files: Sequence[tuple[Path, str, int]] = (),
    ) -> Occurrence | None: ...

    async def list(
        self, *, agent: str | None = None, since: datetime | None = None, limit: int = 50
    ) -> builtins.list[Occurrence]: ...

    async def recover(
        self, owner: Owner, *, in_hand: Collection[int] | None = None
    ) -> builtins.list[Occurrence]: ...

    async def gate_states(self, agent_id: int) -> Mapping[str, str]: ...

    async def unfinished_runs(self, agent_id: int) -> int: ...

    async def runs_since(self, agent_id: int | None, since: datetime) -> int: ...

    async def nth_newest_run(self, agent_id: int | None, n: int) -> datetime | None: ...


class Gates(Protocol):
    """Looks at an agent's gates; never raises."""

    async def check(self, agent: Agent, states: Mapping[str, str]) -> list[GateOutcome]: ...


class House(Protocol):
    """What holds for all agents together."""

    async def stopped(self) -> str | None:
        """Why no agent may work, in one sentence; None while they may."""
        ...

    async def budget(self) -> Budget:
        """What all agents together may use up."""
        ...

    async def replace(self, agent_id: int) -> None:
        """Cancels the agent's unfinished runs, because a newer one takes their place."""
        ...


OnAdmitted = Callable[[Run], Awaitable[None]]
OnEnded = Callable[[Occurrence], Awaitable[None]]
OnPutOff = Callable[[Occurrence], Awaitable[None]]
