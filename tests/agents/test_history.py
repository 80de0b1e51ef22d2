"""The history is kept to the user's limits, and nothing is forgotten without one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agents.core import Agent
from agents.errors import UsageProblem
from agents.history import LIMITS_KEY, MIN_BYTES, History, HistoryLimits
from agents.runs.budget import Amount
from agents.storage import Store
from agents.storage.retention import Forgotten
from tests.agents.conftest import FakeClock
from tests.agents.storage.databases import occurrence

DAY_S = 86_400.0
HOUR_S = 3_600.0


@pytest.fixture
def history(store: Store, clock: FakeClock) -> History:
    return History(settings=store.meta, retention=store.retention, clock=clock)


@pytest.fixture
async def old_run(store: Store, agent: Agent, clock: FakeClock) -> int:
    """A run that ended forty days ago."""
    run = await store.runs.record(replace(occurrence(agent.id, "a"), due_at=clock.now()))
    assert run is not None
    await store.runs.cancel_pending(run.id, "No.")
    clock.advance(40 * DAY_S)
    return run.id


@pytest.mark.usefixtures("old_run")
async def test_age_alone_forgets_nothing_unless_the_user_says_so(history: History, store: Store) -> None:
    assert await history.tidy() == Forgotten()
    assert len(await store.runs.list()) == 1


@pytest.mark.usefixtures("old_run")
async def test_what_is_older_than_the_user_allows_is_forgotten(history: History, store: Store) -> None:
    await history.set_limits(HistoryLimits(keep_days=41))
    assert await history.tidy() == Forgotten()
    await history.set_limits(HistoryLimits(keep_days=39))

    assert await history.tidy() == Forgotten(runs=1)

    assert await store.runs.list() == []
    assert (await history.limits()).keep_days == 39


@pytest.mark.usefixtures("old_run")
async def test_under_limits_that_cannot_be_read_nothing_is_forgotten(history: History, store: Store) -> None:
    await store.meta.set(LIMITS_KEY, '{"keep_days": "soon"}')
    assert await history.tidy() == Forgotten()


async def test_a_size_that_is_too_small_undoes_no_limit_of_today(
    history: History, store: Store, agent: Agent, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("old", "new"):
        run = await store.runs.record(replace(occurrence(agent.id, key), due_at=clock.now()))
        assert run is not None
        await store.budgets.reserve(run.id, agent.id, clock.now().date(), Amount(tokens=7), ())
        await store.runs.cancel_pending(run.id, "No.")
        clock.advance(3 * DAY_S if key == "old" else HOUR_S)
    monkeypatch.setattr("agents.history.MIN_BYTES", 0)
    await history.set_limits(HistoryLimits(keep_bytes=0))

    assert await history.tidy() == Forgotten(runs=1)

    assert (await store.budgets.used(agent.id, clock.now().date())).tokens == 7
    assert await store.schedule.runs_since(agent.id, clock.now() - timedelta(hours=2)) == 1


@pytest.mark.parametrize(
    "limits",
    [HistoryLimits(keep_days=0), HistoryLimits(keep_days=10**9), HistoryLimits(keep_bytes=MIN_BYTES - 1)],
)
async def test_limits_that_leave_no_history_are_refused(history: History, limits: HistoryLimits) -> None:
    with pytest.raises(UsageProblem):
        await history.set_limits(limits)
    assert await history.limits() == HistoryLimits()
