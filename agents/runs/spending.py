"""What one run spends: reserved in the ledger before the work, settled after it. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, Protocol

from agents.runs.budget import Amount, Limit, Refused
from agents.runs.problems import BudgetSpent


class BudgetStore(Protocol):
    """The part of the store that purses need."""

    async def reserve(
        self, run_id: int, agent_id: int, day: date, amount: Amount, limits: Sequence[Limit]
    ) -> int | Refused: ...
    async def settle(self, reservation_id: int, used: Amount) -> Any: ...


class Spent:
    """What a piece of work has used so far; the work writes it down as it goes."""

    def __init__(self) -> None:
        self.amount = Amount()


class Purse:
    """The limits of one run. A reservation is settled however the work ends, also when it is cancelled."""

    def __init__(
        self,
        budgets: BudgetStore,
        *,
        run_id: int,
        agent_id: int,
        limits: Sequence[Limit],
        today: Callable[[], date],
    ) -> None:
        self._budgets = budgets
        self._run_id = run_id
        self._agent_id = agent_id
        self._limits = limits
        self._today = today

    @asynccontextmanager
    async def reserved(self, most: Amount) -> AsyncIterator[Spent]:
        """Work that takes at most so much. Raises BudgetSpent, before anything is done, where a limit is in the way."""
        answer = await self._reserved(most)
        if isinstance(answer, Refused):
            raise BudgetSpent(str(answer))
        spent = Spent()
        try:
            yield spent
        finally:
            await self._budgets.settle(answer, spent.amount)

    async def _reserved(self, most: Amount) -> int | Refused:
        reserving = asyncio.ensure_future(
            self._budgets.reserve(self._run_id, self._agent_id, self._today(), most, self._limits)
        )
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:  # the row may be there by now, and nobody else knows its id
            await asyncio.wait({reserving})
            answer = None if reserving.exception() else reserving.result()
            if isinstance(answer, int):
                await self._budgets.settle(answer, Amount())
            raise
