"""When a limit on the number of runs is used up, and when it allows one more."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from agents.core import Agent
from agents.policies import Budget, RunPolicy
from agents.scheduling.run_limits import RunLimits, UsedUp, next_day
from agents.storage import Store
from tests.agents.conftest import FakeClock
from tests.agents.scheduling.houses import definition, every

JUST_AFTER = timedelta(microseconds=1)


class Runs:
    """Runs in memory: whose, and when they came into being."""

    def __init__(self, *runs: tuple[int, datetime]) -> None:
        self.runs = list(runs)
        self.house_budget = Budget()

    def times(self, agent_id: int | None) -> list[datetime]:
        return sorted((at for whose, at in self.runs if agent_id in (None, whose)), reverse=True)

    async def runs_since(self, agent_id: int | None, since: datetime) -> int:
        return sum(at >= since for at in self.times(agent_id))

    async def nth_newest_run(self, agent_id: int | None, n: int) -> datetime | None:
        return next(iter(self.times(agent_id)[n - 1 :]), None)

    async def budget(self) -> Budget:
        return self.house_budget


async def agent_with(store: Store, budget: Budget) -> Agent:
    return await store.agents.add(definition(every(900), name="Inbox", policy=RunPolicy(budget=budget)), "s")


async def used_up(runs: Runs, clock: FakeClock, agent: Agent) -> UsedUp | None:
    return await RunLimits(counts=runs, house=runs, clock=clock).used_up(agent)


async def test_an_hour_allows_one_more_right_after_the_oldest_run_of_the_last_hour_has_left_it(
    store: Store, clock: FakeClock
) -> None:
    agent = await agent_with(store, Budget(runs_per_hour=2))
    first, second = clock.now() - timedelta(minutes=40), clock.now() - timedelta(minutes=10)
    runs = Runs((agent.id, first), (agent.id, second), (agent.id + 1, clock.now()))
    found = await used_up(runs, clock, agent)
    assert found is not None
    assert found.reason == "“Inbox” may run 2 times an hour, and did."
    assert found.opens_at == first + timedelta(hours=1) + JUST_AFTER
    clock.time = found.opens_at - JUST_AFTER
    assert await used_up(runs, clock, agent) is not None
    clock.time = found.opens_at
    assert await used_up(runs, clock, agent) is None


async def test_after_more_runs_than_are_allowed_now_as_many_have_to_leave_the_hour_as_are_too_many(
    store: Store, clock: FakeClock
) -> None:
    agent = await agent_with(store, Budget(runs_per_hour=1))
    ages = (50, 30, 20)
    runs = Runs(*((agent.id, clock.now() - timedelta(minutes=age)) for age in ages))
    found = await used_up(runs, clock, agent)
    assert found is not None
    assert found.opens_at == clock.now() + timedelta(minutes=40) + JUST_AFTER


async def test_a_day_allows_one_more_at_the_next_midnight_and_of_two_limits_the_longer_one_counts(
    store: Store, clock: FakeClock
) -> None:
    agent = await agent_with(store, Budget(runs_per_hour=1))
    runs = Runs((agent.id, clock.now()))
    runs.house_budget = Budget(runs_per_day=1)
    found = await used_up(runs, clock, agent)
    assert found is not None
    assert found.reason == "All agents together may run 1 time a day, and did."
    assert found.opens_at == next_day(clock.now())


async def test_a_limit_of_no_run_at_all_is_looked_at_again_in_an_hour(store: Store, clock: FakeClock) -> None:
    agent = await agent_with(store, Budget(runs_per_hour=0))
    found = await used_up(Runs(), clock, agent)
    assert found is not None
    assert found.opens_at == clock.now() + timedelta(hours=1)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system sets no time zone for one process")
@pytest.mark.parametrize(
    ("now", "begins"),
    [
        (datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (datetime(2026, 10, 25, 12, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        (datetime(2026, 7, 1, 22, tzinfo=UTC), datetime(2026, 7, 2, 22, tzinfo=UTC)),
    ],
    ids=["clocks went forward", "clocks went back", "at midnight"],
)
def test_the_next_day_begins_at_the_users_midnight_also_when_the_clocks_change(
    monkeypatch: pytest.MonkeyPatch, now: datetime, begins: datetime
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        assert next_day(now) == begins
    time.tzset()
