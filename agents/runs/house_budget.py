"""What all agents together may use up, as a setting of the home."""

from __future__ import annotations

from typing import Protocol

from pydantic import TypeAdapter

from agents.policies import Budget

HOUSE_BUDGET_KEY = "house_budget"
_BUDGET = TypeAdapter(Budget)


class Settings(Protocol):
    """The part of the store that holds it."""

    async def get(self, key: str) -> str | None: ...
    async def set(self, key: str, value: str) -> None: ...


class HouseBudget:
    """Read anew each time: whoever changes it is heard at the next step."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def budget(self) -> Budget:
        text = await self._settings.get(HOUSE_BUDGET_KEY)
        return _BUDGET.validate_json(text) if text else Budget()

    async def change(self, budget: Budget) -> None:
        await self._settings.set(HOUSE_BUDGET_KEY, _BUDGET.dump_json(budget).decode())
