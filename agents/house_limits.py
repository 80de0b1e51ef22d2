"""What all agents together may use up, and how much of their history is kept: the limits of a home. Runs in: the runtime's event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from agents import contract
from agents.history import History
from agents.runs.house_budget import HouseBudget

_BYTES = 1_000_000


class HouseLimits:
    """Both kinds behind one door; None is no limit."""

    def __init__(self, *, budget: HouseBudget, history: History, on_change: Callable[[], None]) -> None:
        """`on_change` is told when more runs may be allowed than before."""
        self._budget = budget
        self._history = history
        self._on_change = on_change

    async def show(self) -> contract.Limits:
        history = await self._history.limits()
        keep_mb = None if history.keep_bytes is None else history.keep_bytes // _BYTES
        # an agent's budget also knows limits for each run, which a home has none of: the contract leaves them out
        budget = asdict(await self._budget.budget())
        return contract.Limits(**budget, keep_days=history.keep_days, keep_mb=keep_mb)

    async def change(self, change: contract.LimitsChange) -> contract.Limits:
        """Changes what `change` names and leaves the rest. Raises UsageProblem for a history that nothing fits in."""
        named: dict[str, Any] = {name: getattr(change, name) for name in change.model_fields_set}
        before = history = await self._history.limits()
        if "keep_days" in named:
            history = replace(history, keep_days=named.pop("keep_days"))
        if "keep_mb" in named:
            keep_mb = named.pop("keep_mb")
            history = replace(history, keep_bytes=None if keep_mb is None else keep_mb * _BYTES)
        if history != before:
            await self._history.set_limits(history)
        if named:
            await self._budget.change(replace(await self._budget.budget(), **named))
            self._on_change()
        return await self.show()
