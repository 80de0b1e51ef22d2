"""Nothing goes over a limit: the rule as a table, its sentences, and fifty steps that ask at once. Real store."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from agents.core import Agent
from agents.policies import Budget
from agents.runs.budget import Amount, Limit, Measure, Paces, Refused, Scope, limits_of, refusal
from agents.runs.problems import BudgetSpent
from agents.runs.spending import Purse
from agents.storage import Store
from tests.agents.conftest import FakeClock
from tests.agents.runs.houses import record

TODAY = date(2026, 3, 1)
NOTHING = dict.fromkeys(Scope, Amount())


def day_limit(ceiling: float, measure: Measure = Measure.TOKENS) -> Limit:
    return Limit(scope=Scope.AGENT_DAY, measure=measure, ceiling=ceiling, field=f"{measure}_per_day")


@pytest.mark.parametrize(
    ("used", "asked", "allowed"),
    [(0, 100, True), (0, 101, False), (60, 40, True), (60, 41, False), (100, 0, True), (100, 1, False)],
)
def test_what_is_used_and_asked_together_may_reach_a_limit_and_not_pass_it(
    used: int, asked: int, allowed: bool
) -> None:
    before = NOTHING | {Scope.AGENT_DAY: Amount(tokens=used)}
    answer = refusal([day_limit(100)], before, Amount(tokens=asked))
    assert (answer is None) is allowed
    if answer is not None:
        assert (answer.used, answer.asked) == (used, asked)


@pytest.mark.parametrize(("used_wh", "allowed"), [(0.0, True), (1.9, True), (2.0, False), (3.0, False)])
def test_a_step_whose_energy_nobody_knows_beforehand_may_begin_while_some_is_left(
    used_wh: float, allowed: bool
) -> None:
    before = NOTHING | {Scope.AGENT_DAY: Amount(wh=used_wh)}
    answer = refusal([day_limit(2.0, Measure.WH)], before, Amount(tokens=10))
    assert (answer is None) is allowed


def test_each_field_of_a_budget_that_says_a_number_is_a_limit_of_its_scope() -> None:
    budget = Budget(tokens_per_run=1, seconds_per_day=2.0, runs_per_hour=3)
    house = Budget(tokens_per_run=10, tokens_per_day=20, money_per_day=0.5)
    found = {(limit.field, limit.scope, limit.ceiling) for limit in limits_of(budget, house=house)}
    assert found == {
        ("tokens_per_run", Scope.RUN, 1),
        ("seconds_per_day", Scope.AGENT_DAY, 2.0),
        ("tokens_per_run", Scope.RUN, 10),
        ("tokens_per_day", Scope.HOUSE_DAY, 20),
        ("money_per_day", Scope.HOUSE_DAY, 0.5),
    }


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope.RUN, "take this run over its limit of 5,000 tokens (4,200 used); raise 'tokens_per_run'"),
        (
            Scope.AGENT_DAY,
            "limit of 5,000 tokens a day is used up (4,200 used or reserved); it goes on tomorrow",
        ),
        (Scope.HOUSE_DAY, "for all agents together is used up (4,200 used or reserved); they go on tomorrow"),
    ],
)
def test_a_refusal_is_one_sentence_with_its_remedy(scope: Scope, words: str) -> None:
    limit = Limit(scope=scope, measure=Measure.TOKENS, ceiling=5_000, field="tokens_per_run")
    assert words in str(Refused(limit=limit, used=4_200, asked=1_000))


def test_what_a_question_takes_is_guessed_from_the_model_s_last_answers() -> None:
    paces = Paces()
    assert paces.most("m", prompt_tokens=100, max_tokens=50) == Amount(tokens=150)
    paces.saw("m", prompt_tokens=1_000, prefill_s=2.0, completion_tokens=100, decode_s=5.0)
    assert paces.most("m", prompt_tokens=100, max_tokens=50).seconds == pytest.approx(0.2 + 2.5)
    assert paces.most("other", prompt_tokens=100, max_tokens=50).seconds == 0.0


async def test_fifty_steps_that_ask_at_once_never_go_over_a_limit_together(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    run = await record(store, agent, folder / "a.md", clock)
    purse = Purse(
        store.budgets, run_id=run.id, agent_id=agent.id, limits=[day_limit(1_000)], today=lambda: TODAY
    )
    most = 0

    async def step(number: int) -> bool:
        nonlocal most
        try:
            async with purse.reserved(Amount(tokens=90)) as spent:
                most = max(most, (await store.budgets.used(agent.id, TODAY)).tokens)
                await asyncio.sleep(0.001 * (number % 5))
                spent.amount = Amount(tokens=30)
        except BudgetSpent:
            return False
        return True

    done = await asyncio.gather(*(step(number) for number in range(50)))
    used = await store.budgets.used(agent.id, TODAY)
    assert most <= 1_000
    assert used.tokens == 30 * sum(done)
    assert 11 <= sum(done) < 50  # the first eleven fit at once, and what they did not need others got


async def test_what_a_cancelled_step_used_is_settled_too(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    run = await record(store, agent, folder / "a.md", clock)
    purse = Purse(store.budgets, run_id=run.id, agent_id=agent.id, limits=(), today=lambda: TODAY)
    begun = asyncio.Event()

    async def step() -> None:
        async with purse.reserved(Amount(tokens=500)) as spent:
            spent.amount = Amount(tokens=7)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(step())
    await begun.wait()
    assert (await store.budgets.used(agent.id, TODAY)).tokens == 500
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.budgets.used(agent.id, TODAY)).tokens == 7


async def test_a_step_that_is_cancelled_while_it_reserves_leaves_nothing_reserved(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    run = await record(store, agent, folder / "a.md", clock)
    is_written, may_answer = asyncio.Event(), asyncio.Event()

    class Slow:
        settle = store.budgets.settle

        async def reserve(self, *asked: Any) -> int | Refused:
            answer = await store.budgets.reserve(*asked)
            is_written.set()
            await may_answer.wait()
            return answer

    purse = Purse(Slow(), run_id=run.id, agent_id=agent.id, limits=(), today=lambda: TODAY)

    async def step() -> None:
        async with purse.reserved(Amount(tokens=500)):
            pytest.fail("it was cancelled before")

    task = asyncio.create_task(step())
    await is_written.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(may_answer.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.budgets.used(agent.id, TODAY) == Amount()
