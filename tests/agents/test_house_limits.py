"""The limits of a home: shown, changed one by one, lifted, and heard by what they limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents import contract
from agents.clock import SystemClock
from agents.errors import UsageProblem
from agents.history import History
from agents.house_limits import HouseLimits
from agents.policies import Budget
from agents.runs.house_budget import HouseBudget
from agents.storage import Store


class Told:
    """Counts how often more may be allowed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def limits(store: Store, told: Told) -> HouseLimits:
    history = History(settings=store.meta, retention=store.retention, clock=SystemClock())
    return HouseLimits(budget=HouseBudget(store.meta), history=history, on_change=told)


async def test_what_is_named_changes_and_the_rest_stays(
    limits: HouseLimits, store: Store, told: Told
) -> None:
    before = await limits.show()
    await limits.change(contract.LimitsChange(tokens_per_day=1000, keep_days=90))
    after = await limits.change(contract.LimitsChange(runs_per_hour=3))
    assert after == before.model_copy(update={"tokens_per_day": 1000, "keep_days": 90, "runs_per_hour": 3})
    assert await HouseBudget(store.meta).budget() == Budget(tokens_per_day=1000, runs_per_hour=3)
    assert told.times == 2

    lifted = await limits.change(contract.LimitsChange(tokens_per_day=None, keep_mb=None))
    assert (lifted.tokens_per_day, lifted.keep_mb, lifted.runs_per_hour) == (None, None, 3)


async def test_a_history_that_nothing_fits_in_is_refused_and_changes_nothing(
    limits: HouseLimits, told: Told
) -> None:
    before = await limits.show()
    with pytest.raises(UsageProblem, match="at least 50 MB"):
        await limits.change(contract.LimitsChange(keep_mb=1, tokens_per_day=5))
    assert await limits.show() == before
    assert told.times == 0


async def test_a_budget_of_an_agent_s_own_kind_survives_a_change_of_the_house(
    limits: HouseLimits, store: Store
) -> None:
    budget = HouseBudget(store.meta)
    await budget.change(replace(Budget(), seconds_per_run=4.0))
    await limits.change(contract.LimitsChange(runs_per_day=7))
    assert await budget.budget() == Budget(seconds_per_run=4.0, runs_per_day=7)
