"""What is reserved counts at once, so work side by side never goes over a limit together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from agents.core import Agent, Run
from agents.errors import NotFound
from agents.runs.budget import Amount, Limit, Measure, Refused, Scope
from agents.storage import Store
from tests.agents.conftest import definition_of
from tests.agents.storage.databases import occurrence

TODAY = date(2026, 3, 1)
NONE = Amount()


def limit(scope: Scope, ceiling: float) -> Limit:
    return Limit(scope=scope, measure=Measure.TOKENS, ceiling=ceiling, field="tokens")


async def run_of(store: Store, agent: Agent, key: str = "a") -> Run:
    run = await store.runs.record(occurrence(agent.id, key))
    assert run is not None
    return run


async def reserve(store: Store, run: Run, tokens: int, *limits: Limit, day: date = TODAY) -> int | Refused:
    return await store.budgets.reserve(run.id, run.agent_id, day, Amount(tokens=tokens), limits)


async def test_fifty_reservations_side_by_side_never_exceed_a_limit(store: Store, agent: Agent) -> None:
    run = await run_of(store, agent)

    answers = await asyncio.gather(
        *(reserve(store, run, 30, limit(Scope.AGENT_DAY, 1_000)) for _ in range(50))
    )

    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(answers) - len(refused) == 33
    assert all((answer.used, answer.asked) == (990, 30) for answer in refused)
    assert await store.budgets.used(agent.id, TODAY) == Amount(tokens=990)


async def test_what_is_settled_counts_as_it_was_used(store: Store, agent: Agent) -> None:
    run = await run_of(store, agent)
    reservation = await reserve(store, run, 900)
    assert isinstance(reservation, int)
    assert isinstance(await reserve(store, run, 200, limit(Scope.RUN, 1_000)), Refused)
    used = Amount(tokens=120, seconds=1.5, wh=0.25, usd=0.01, tool_calls=2)

    await store.budgets.settle(reservation, used)

    assert await store.budgets.used(agent.id, TODAY) == used
    assert isinstance(await reserve(store, run, 200, limit(Scope.RUN, 1_000)), int)


async def test_each_scope_adds_up_its_own(store: Store, agent: Agent) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    mine, second, theirs = (
        await run_of(store, agent),
        await run_of(store, agent, "b"),
        await run_of(store, other),
    )
    for run in (mine, second, theirs):
        await reserve(store, run, 100)
    await reserve(store, mine, 100, day=TODAY - timedelta(days=1))

    async def fits(scope: Scope, ceiling: int) -> bool:
        answer = await reserve(store, mine, 1, limit(scope, ceiling))
        if isinstance(answer, Refused):
            return False
        await store.budgets.settle(answer, NONE)
        return True

    for scope, used in ((Scope.RUN, 200), (Scope.AGENT_DAY, 200), (Scope.HOUSE_DAY, 300)):
        assert not await fits(scope, used)
        assert await fits(scope, used + 1)
    assert await store.budgets.used(None, TODAY) == Amount(tokens=300)
    assert await store.budgets.used_by_run(mine.id) == Amount(tokens=200)


async def test_what_was_never_begun_is_released_and_what_was_settled_stays(
    store: Store, agent: Agent
) -> None:
    run = await run_of(store, agent)
    settled, open_one = await reserve(store, run, 10), await reserve(store, run, 500)
    assert isinstance(settled, int)
    assert isinstance(open_one, int)
    await store.budgets.settle(settled, Amount(tokens=7))

    await store.budgets.release_all(run.id)

    assert await store.budgets.used(agent.id, TODAY) == Amount(tokens=7)
    with pytest.raises(NotFound):
        await store.budgets.settle(open_one, NONE)


async def test_what_a_dead_runtime_had_reserved_counts_as_used(store: Store, agent: Agent) -> None:
    run = await run_of(store, agent)
    await store.runs.begin(run.id, owner="dead", model="m")
    await reserve(store, run, 500)

    await store.runs.recover("alive")
    await store.budgets.release_all(run.id)

    assert await store.budgets.used(agent.id, TODAY) == Amount(tokens=500)


async def test_what_crashes_left_reserved_brings_a_run_no_nearer_to_its_own_limits(
    store: Store, agent: Agent
) -> None:
    run = await run_of(store, agent)
    own, day = limit(Scope.RUN, 700), limit(Scope.AGENT_DAY, 2_000)
    for crash in range(5):
        await store.runs.begin(run.id, owner=f"dead {crash}", model="m")
        first = await reserve(store, run, 180, own, day)
        assert isinstance(first, int)
        await store.budgets.settle(first, Amount(tokens=10))
        assert isinstance(await reserve(store, run, 300, own, day), int)
        await store.runs.recover(f"alive {crash}")

    assert await store.budgets.used_by_run(run.id) == Amount(tokens=50)
    assert await store.budgets.used(agent.id, TODAY) == Amount(tokens=5 * 310)
    assert await store.budgets.used(None, TODAY) == Amount(tokens=5 * 310)
    assert isinstance(await reserve(store, run, 500, day), Refused)


async def test_a_refused_reservation_leaves_no_trace(store: Store, agent: Agent) -> None:
    run = await run_of(store, agent)
    limits = (limit(Scope.HOUSE_DAY, 10), replace(limit(Scope.RUN, 5), field="first"))

    answer = await reserve(store, run, 11, *limits)

    assert answer == Refused(limit=limits[0], used=0, asked=11)
    assert await store.budgets.used(None, TODAY) == NONE
