"""Every due time becomes a run or ends with a reason, each once, whatever becomes of the clock and of the process."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.core import Agent, NewOccurrence, OccurrenceStatus
from agents.errors import DiskFull
from agents.policies import Budget, Misfire, MisfirePolicy, Overlap, OverlapPolicy, RunPolicy
from agents.scheduling.arming import Arming
from agents.scheduling.deciding import AT_ONCE
from agents.scheduling.run_limits import start_of_day
from agents.scheduling.watchdog import IncidentKind, Watchdog
from agents.storage import Store
from agents.triggers import (
    OnceTrigger,
    PowerGate,
    StartTrigger,
    TriggerKind,
    WakeTrigger,
    WebhookTrigger,
    trigger_key,
)
from tests.agents.conftest import FakeClock
from tests.agents.scheduling.houses import (
    ALWAYS,
    WAITS,
    Bench,
    cron,
    definition,
    due_minutes,
    every,
    opened,
)

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S
PENDING, MISSED, SKIPPED = OccurrenceStatus.PENDING, OccurrenceStatus.MISSED, OccurrenceStatus.SKIPPED


@pytest.fixture
async def bench(store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    async with opened(store, clock) as made:
        yield made


def misfire(policy: MisfirePolicy, *, at_most: int = 5, within_s: float | None = None) -> RunPolicy:
    return RunPolicy(misfire=Misfire(policy=policy, at_most=at_most, within_s=within_s), overlap=WAITS)


def overlap(policy: OverlapPolicy, at_most: int = 1) -> RunPolicy:
    return RunPolicy(overlap=Overlap(policy=policy, at_most=at_most))


# --- arming ---------------------------------------------------------------------------------------


async def test_an_agent_has_one_future_row_for_each_timed_trigger(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(cron("0 8 * * *"), every(900), StartTrigger()))
    assert len(await bench.armed()) == 2
    assert await bench.scheduler.next_due_of(agent.id) == bench.clock.now() + timedelta(seconds=900)


async def test_a_paused_agent_has_no_future_row_and_gets_one_when_it_is_resumed(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(every(900)))
    await bench.store.agents.set_paused(agent.id, True)
    await bench.refresh()
    assert await bench.armed() == []
    bench.clock.advance(3 * 24 * HOUR_S)
    await bench.store.agents.set_paused(agent.id, False)
    await bench.refresh()
    await bench.pass_time(901)
    assert await bench.statuses() == [PENDING]  # nothing of the time in between was promised


async def test_a_changed_schedule_takes_the_place_of_the_old_one(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(cron("0 8 * * *")))
    await bench.store.agents.revise(agent.id, definition(cron("0 9 * * *")), "source")
    await bench.refresh()
    assert [due.hour for due in await bench.armed()] == [9]


async def test_a_removed_agents_due_times_are_withdrawn(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(every(900)))
    await bench.store.agents.remove(agent.id)
    await bench.refresh()
    await bench.pass_time(HOUR_S)
    assert (await bench.armed(), bench.admitted) == ([], [])


async def test_what_was_armed_for_an_agent_that_changed_while_nothing_ran_is_put_right_at_the_start(
    bench: Bench,
) -> None:
    await bench.start()
    agent = await bench.add(definition(cron("0 8 * * *")))
    await bench.scheduler.stop()
    await bench.store.agents.revise(agent.id, definition(cron("30 9 * * *")), "source")
    bench.scheduler = bench.new_scheduler()
    await bench.start()
    assert [(due.hour, due.minute) for due in await bench.armed()] == [(9, 30)]


# --- in time --------------------------------------------------------------------------------------


async def test_each_due_time_becomes_one_run_and_arms_the_next(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    start = bench.clock.now()
    for _ in range(4):
        await bench.pass_time(900)
    assert due_minutes(await bench.rows(), start) == [15, 30, 45, 60]
    assert [run.due_at for run in bench.admitted] == [start + timedelta(minutes=15 * n) for n in range(1, 5)]
    assert await bench.armed() == [start + timedelta(minutes=75)]


async def test_a_late_run_moves_nothing(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    start = bench.clock.now()
    await bench.pass_time(930)
    assert await bench.armed() == [start + timedelta(seconds=1800)]


async def test_a_moment_comes_once(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(OnceTrigger(at=bench.clock.now() + timedelta(hours=1), zone="UTC")))
    await bench.pass_time(HOUR_S)
    await bench.pass_time(24 * HOUR_S)
    assert (await bench.statuses(), await bench.armed()) == ([PENDING], [])


async def test_it_wakes_by_itself_when_something_is_due(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    bench.clock.advance(899.8)
    bench.scheduler.poke()  # from here on nobody pokes; the clock stands until its alarm is set
    await asyncio.sleep(0.1)
    bench.clock.advance(0.2)
    async with asyncio.timeout(10):
        while not bench.admitted:
            await asyncio.sleep(0.01)


# --- late -----------------------------------------------------------------------------------------


async def test_after_a_night_without_hearth_the_newest_runs_and_the_others_are_missed_each_with_a_reason(
    bench: Bench,
) -> None:
    await bench.start()
    await bench.add(definition(every(HOUR_S)))
    start = bench.clock.now()
    await bench.restart(after_s=8 * HOUR_S + 600)
    rows = await bench.rows()
    assert due_minutes(rows, start) == [60 * n for n in range(1, 9)]
    assert [row.status for row in rows] == [MISSED] * 7 + [PENDING]
    assert all(row.reason for row in rows[:7])


async def test_a_second_restart_changes_nothing_of_it(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(HOUR_S)))
    await bench.restart(after_s=8 * HOUR_S + 600)
    before = await bench.rows()
    await bench.restart(after_s=60)
    assert await bench.rows() == before


async def test_skip_runs_nothing_late(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(HOUR_S), policy=misfire(MisfirePolicy.SKIP)))
    await bench.restart(after_s=3 * HOUR_S + 600)
    assert await bench.statuses() == [MISSED] * 3
    await bench.pass_time(HOUR_S - 600)
    assert await bench.statuses() == [MISSED] * 3 + [PENDING]


async def test_run_all_catches_up_on_the_newest_and_staggers_them(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(HOUR_S), policy=misfire(MisfirePolicy.RUN_ALL, at_most=3)))
    await bench.restart(after_s=6 * HOUR_S + 600)
    assert await bench.statuses() == [MISSED] * 3 + [PENDING] * 3
    waits = sorted(run.not_before for run in bench.admitted if run.not_before)
    assert [(b - a).total_seconds() for a, b in itertools.pairwise(waits)] == [5.0, 5.0]


async def test_only_what_is_not_too_old_is_caught_up_on(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(HOUR_S), policy=misfire(MisfirePolicy.RUN_ONCE, within_s=300)))
    await bench.restart(after_s=2 * HOUR_S + 600)
    assert await bench.statuses() == [MISSED] * 2


async def test_a_minute_late_is_in_time(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(HOUR_S), policy=misfire(MisfirePolicy.SKIP)))
    await bench.restart(after_s=HOUR_S + 59)
    assert await bench.statuses() == [PENDING]
    assert bench.admitted[0].not_before is None


async def test_a_long_absence_is_a_hundred_rows_and_one_for_the_rest(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(60)))
    await bench.restart(after_s=1000 * 60 + 30)
    rows = await bench.rows()
    assert sum(row.n_due for row in rows) == 1000
    assert len(rows) <= 103
    assert [row.status for row in rows if row.n_due > 1] == [MISSED]
    assert len(bench.admitted) == 1


async def test_an_event_is_never_too_late(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(WebhookTrigger(hook="x"), policy=misfire(MisfirePolicy.SKIP)))
    await bench.scheduler.stop()
    await bench.store.schedule.announce(webhook_call(agent.id, "1", bench.clock.now()))
    bench.clock.advance(8 * HOUR_S)
    bench.scheduler = bench.new_scheduler()
    await bench.start()
    assert await bench.statuses() == [PENDING]


# --- the clock ------------------------------------------------------------------------------------


def set_clock(clock: FakeClock, seconds: float) -> None:
    """As somebody sets it: the monotonic count does not notice."""
    clock.time += timedelta(seconds=seconds)


async def test_a_clock_set_back_an_hour_repeats_nothing_and_stops_nothing(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(cron("*/15 * * * *")))
    start = bench.clock.now()
    for _ in range(8):
        await bench.pass_time(900)
    set_clock(bench.clock, -HOUR_S)
    await bench.look()
    assert await bench.armed() == [start + timedelta(minutes=135)]  # the first that has not come yet
    for _ in range(4 * 4):
        await bench.pass_time(225)
        await bench.pass_time(675)
    dues = due_minutes(await bench.rows(), start)
    assert dues == [15 * n for n in range(1, 8 - 4 + 16 + 1)]
    assert set(await bench.statuses()) == {PENDING}


@pytest.mark.parametrize("trigger", [cron("*/30 * * * *"), every(1800)], ids=["cron", "interval"])
async def test_a_clock_that_was_a_year_ahead_leaves_nobody_without_a_due_time(
    bench: Bench, trigger: object
) -> None:
    set_clock(bench.clock, YEAR_S)
    await bench.start()
    await bench.add(definition(trigger))  # type: ignore[arg-type]
    await bench.pass_time(1800)
    set_clock(bench.clock, -YEAR_S)
    now = bench.clock.now()
    await bench.look()
    [due] = await bench.armed()
    assert now < due <= now + timedelta(minutes=30)
    await bench.pass_time(1800)
    assert await bench.statuses() == [PENDING, PENDING]


@pytest.mark.parametrize("policy", list(MisfirePolicy))
@pytest.mark.parametrize("trigger", [cron("*/30 * * * *"), every(1800)], ids=["cron", "interval"])
@pytest.mark.parametrize("ahead_s", [2 * HOUR_S, YEAR_S], ids=["two hours", "a year"])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted"])
async def test_due_times_of_a_gap_that_never_was_come_once_when_they_truly_come(
    bench: Bench, trigger: Any, ahead_s: float, policy: MisfirePolicy, restarts: bool
) -> None:
    await bench.start()
    await bench.add(definition(trigger, policy=misfire(policy, at_most=1)))
    start = bench.clock.now()
    await bench.pass_time(1800)
    set_clock(bench.clock, ahead_s)
    await bench.look()
    set_clock(bench.clock, -ahead_s)
    if restarts:
        await bench.restart(after_s=1)
        bench.clock.advance(-1)
    await bench.look()
    for _ in range(8 * 3):
        await bench.pass_time(600)
    rows = await bench.rows()
    ran = Counter(row.due_at for row in rows if row.status is PENDING and row.due_at <= bench.clock.now())
    assert ran == Counter(start + timedelta(minutes=30 * n) for n in range(1, 10))


async def test_what_happened_under_a_clock_that_was_ahead_is_due_now(bench: Bench) -> None:
    hook = WebhookTrigger(hook="mail")
    await bench.start()
    agent = await bench.add(definition(hook, gates=(PowerGate(),)))
    bench.gates.is_open = False
    set_clock(bench.clock, YEAR_S)
    new = NewOccurrence(
        agent_id=agent.id,
        trigger=TriggerKind.WEBHOOK,
        trigger_key=trigger_key(hook),
        key="call",
        due_at=bench.clock.now(),
    )
    await bench.scheduler.announce(new)
    await bench.look()
    set_clock(bench.clock, -YEAR_S)
    bench.gates.is_open = True
    await bench.pass_time(1)
    [run] = bench.admitted
    assert run.due_at < bench.clock.now() + timedelta(seconds=1)


async def test_a_clock_set_forward_a_year_is_one_run_and_a_summary_and_no_storm(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(cron("*/15 * * * *")))
    await bench.pass_time(900)
    set_clock(bench.clock, YEAR_S)
    await bench.look()
    rows = await bench.rows()
    assert sum(row.n_due for row in rows) == 1 + 365 * 96
    assert len(rows) <= 104
    assert len(bench.admitted) == 2


async def test_a_machine_that_slept_is_caught_up_on_at_once(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    set_clock(bench.clock, 2 * HOUR_S)  # the monotonic count stands still in sleep
    await bench.scheduler.after_gap("the computer slept")
    await bench.look()
    assert await bench.statuses() == [MISSED] * 7 + [PENDING]


# --- policies, budgets, gates, the switch ---------------------------------------------------------


async def test_two_due_times_at_once_do_not_both_slip_past_a_skipping_overlap(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(cron("0 * * * *"), cron("*/60 * * * *"), policy=overlap(OverlapPolicy.SKIP)))
    await bench.pass_time(HOUR_S)
    assert sorted(await bench.statuses()) == [PENDING, SKIPPED]


async def test_a_schedule_that_is_faster_than_its_agent_piles_up_no_runs(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900), policy=RunPolicy()))
    for _ in range(3):
        await bench.pass_time(900)
    assert await bench.statuses() == [PENDING, SKIPPED, SKIPPED]
    skipped = (await bench.rows())[-1]
    assert skipped.reason == (
        "The run before it had not ended; with 'overlap: {policy: queue}' it would have waited."
    )


async def test_missed_times_that_are_all_wanted_do_not_keep_each_other_from_running(bench: Bench) -> None:
    await bench.start()
    policy = RunPolicy(misfire=Misfire(policy=MisfirePolicy.RUN_ALL, at_most=3))
    await bench.add(definition(every(900), policy=policy))
    await bench.pass_time(HOUR_S + 90)
    assert await bench.statuses() == [MISSED, PENDING, PENDING, PENDING]


async def test_a_newer_due_time_replaces_the_run_before_it_only_once_its_gates_are_open(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(every(900), policy=overlap(OverlapPolicy.REPLACE), gates=(ALWAYS,)))
    await bench.pass_time(900)
    bench.gates.is_open = False
    await bench.pass_time(900)
    assert bench.house.replaced == []
    bench.gates.is_open = True
    await bench.pass_time(900)
    assert bench.house.replaced == [agent.id]
    assert await bench.statuses() == [PENDING, SKIPPED, PENDING]


async def test_a_closed_gate_ends_the_due_time_with_its_own_words_and_leaves_a_row(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(every(900), gates=(ALWAYS,)))
    bench.gates.is_open = False
    await bench.pass_time(900)
    [row] = await bench.rows()
    assert (row.status, row.reason) == (SKIPPED, "Its gate was closed: it is closed.")
    assert [outcome.is_open for outcome in await bench.store.schedule.gate_rows(row.id)] == [False]
    wakings = await bench.store.schedule.wakings(agent.id)
    assert (wakings.woken, wakings.free) == (1, 1)


async def test_a_slow_gate_holds_up_nobody_else(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900), name="Slow", gates=(ALWAYS,)))
    await bench.add(definition(every(900), name="Quick", gates=(ALWAYS,)))
    hold = bench.gates.hold["Slow"] = asyncio.Event()
    bench.clock.advance(900)
    async with asyncio.timeout(10):
        while not bench.admitted:
            bench.scheduler.poke()
            await asyncio.sleep(0.01)
    assert [run.agent_name for run in bench.admitted] == ["Quick"]
    hold.set()
    await bench.look()
    assert [run.agent_name for run in bench.admitted] == ["Quick", "Slow"]


async def test_however_many_gates_are_slow_an_agent_without_any_is_not_held_up(bench: Bench) -> None:
    await bench.start()
    for index in range(AT_ONCE + 4):
        await bench.add(definition(every(900), name=f"Slow {index}", gates=(ALWAYS,)))
        bench.gates.hold[f"Slow {index}"] = asyncio.Event()
    await bench.add(definition(every(900), name="Without"))
    bench.clock.advance(900)
    async with asyncio.timeout(10):
        while not bench.admitted:
            bench.scheduler.poke()
            await asyncio.sleep(0.01)
    assert [run.agent_name for run in bench.admitted] == ["Without"]


async def call_three_times(bench: Bench, agent: Agent) -> None:
    """Its hook is called, and the first call waits at the agent's gate."""
    bench.gates.hold[agent.name] = asyncio.Event()
    for call in range(3):
        new = NewOccurrence(
            agent_id=agent.id, trigger=TriggerKind.WEBHOOK, key=f"call {call}", due_at=bench.clock.now()
        )
        await bench.scheduler.announce(new)
    async with asyncio.timeout(10):
        while bench.decider.n_waiting < 3 or not bench.gates.asked:
            bench.scheduler.poke()
            await asyncio.sleep(0.01)


async def test_a_gate_that_was_taken_away_is_not_asked_for_what_is_still_in_line(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(WebhookTrigger(hook="a"), gates=(ALWAYS,)))
    await call_three_times(bench, agent)
    await bench.store.agents.revise(agent.id, definition(WebhookTrigger(hook="a")), "source")
    await bench.refresh()
    bench.gates.hold["Writer"].set()
    await bench.look_anew()
    assert bench.gates.asked["Writer"] == 1
    assert await bench.statuses() == [PENDING] * 3


async def test_nothing_is_asked_any_more_for_an_agent_that_was_removed(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(WebhookTrigger(hook="a"), gates=(ALWAYS,)))
    await call_three_times(bench, agent)
    await bench.store.agents.remove(agent.id)
    await bench.refresh()
    bench.gates.hold["Writer"].set()
    await bench.look_anew()
    assert bench.gates.asked["Writer"] == 1
    assert await bench.statuses() == [OccurrenceStatus.CANCELLED] * 3


async def test_a_gate_that_breaks_ends_its_due_time_and_not_the_scheduler(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900), gates=(ALWAYS,)))
    bench.gates.fails_for = "Writer"
    await bench.pass_time(900)
    bench.gates.fails_for = None
    await bench.pass_time(900)
    rows = await bench.rows()
    assert [row.status for row in rows] == [SKIPPED, PENDING]
    assert "internal error" in (rows[0].reason or "")


async def test_no_more_runs_than_the_agent_may_have_in_an_hour(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900), policy=RunPolicy(budget=Budget(runs_per_hour=2), overlap=WAITS)))
    for _ in range(6):
        await bench.pass_time(900)
    assert await bench.statuses() == [PENDING, PENDING, SKIPPED, SKIPPED, SKIPPED, PENDING]
    assert "2 times an hour" in ((await bench.rows())[2].reason or "")


async def test_no_more_runs_than_the_house_may_have_in_a_day(bench: Bench) -> None:
    await bench.start()
    bench.house.house_budget = Budget(runs_per_day=1)
    await bench.add(definition(every(600), name="One"))
    await bench.add(definition(every(900), name="Two"))
    await bench.pass_time(600)
    await bench.pass_time(300)
    rows = await bench.rows()
    assert [row.status for row in rows] == [PENDING, SKIPPED]
    assert (rows[1].reason or "").startswith("All agents together may run 1 time a day")


async def test_agents_that_are_due_at_the_same_moment_do_not_slip_past_the_houses_limit_together(
    bench: Bench,
) -> None:
    await bench.start()
    bench.house.house_budget = Budget(runs_per_day=1)
    for index in range(8):
        await bench.add(definition(every(900), name=f"Agent {index}"))
    await bench.pass_time(900)
    assert Counter(await bench.statuses()) == {PENDING: 1, SKIPPED: 7}


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system sets no time zone for one process")
@pytest.mark.parametrize(
    ("now", "began"),
    [
        (datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        (datetime(2026, 10, 25, 12, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)),
        (datetime(2026, 7, 1, 23, tzinfo=UTC), datetime(2026, 7, 1, 22, tzinfo=UTC)),
    ],
    ids=["clocks went forward", "clocks went back", "past midnight"],
)
def test_a_day_begins_at_the_users_midnight_also_when_the_clocks_change(
    monkeypatch: pytest.MonkeyPatch, now: datetime, began: datetime
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        assert start_of_day(now) == began
    time.tzset()


async def test_while_all_agents_are_stopped_due_times_end_with_that_reason(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    bench.house.stop_reason = "All agents are stopped."
    await bench.pass_time(900)
    bench.house.stop_reason = None
    await bench.pass_time(900)
    assert [(row.status, row.reason) for row in await bench.rows()] == [
        (SKIPPED, "All agents are stopped."),
        (PENDING, None),
    ]


# --- events ---------------------------------------------------------------------------------------


def webhook_call(agent_id: int, number: str, now: datetime) -> NewOccurrence:
    key = trigger_key(WebhookTrigger(hook="x"))
    return NewOccurrence(
        agent_id=agent_id,
        trigger=TriggerKind.WEBHOOK,
        key=f"{key}:{number}",
        trigger_key=key,
        due_at=now,
        input={"number": number},
    )


async def test_what_is_announced_runs_once_however_often_it_is_said(bench: Bench) -> None:
    await bench.start()
    agent = await bench.add(definition(WebhookTrigger(hook="x")))
    call = webhook_call(agent.id, "1", bench.clock.now())
    assert await bench.scheduler.announce(call) is not None
    assert await bench.scheduler.announce(call) is None
    await bench.pass_time(0.001)
    assert [run.input for run in bench.admitted] == [{"number": "1"}]


async def test_each_start_of_the_runtime_is_due_once(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(StartTrigger()))
    assert bench.admitted == []  # it came after this start
    await bench.restart(after_s=60)
    await bench.pass_time(60)
    assert len(bench.admitted) == 1
    await bench.restart(after_s=60)
    assert len(bench.admitted) == 2


async def test_a_wake_is_announced_to_those_that_wait_for_it(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(WakeTrigger(), name="Waits"))
    await bench.add(definition(every(900), name="Does not"))
    await bench.scheduler.happened(TriggerKind.WAKE, "monday")
    await bench.scheduler.happened(TriggerKind.WAKE, "monday")
    await bench.pass_time(0.001)
    assert [run.agent_name for run in bench.admitted] == ["Waits"]


# --- trouble --------------------------------------------------------------------------------------


async def test_what_a_dead_runtime_had_claimed_runs_once_at_the_next_start(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900), gates=(ALWAYS,)))
    bench.gates.hold["Writer"] = asyncio.Event()
    bench.clock.advance(900)
    async with asyncio.timeout(10):
        while not bench.gates.asked:
            bench.scheduler.poke()
            await asyncio.sleep(0.01)
    assert await bench.statuses() == [OccurrenceStatus.CLAIMED]
    del bench.gates.hold["Writer"]
    await bench.restart(after_s=5)
    assert await bench.statuses() == [PENDING]


async def test_a_ledger_that_cannot_be_written_is_told_once_and_nothing_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await bench.add(definition(every(900)))

    async def full(*_: object, **__: object) -> None:
        raise DiskFull("There is no space left; make room.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.schedule, "claim", full)
        bench.clock.advance(900)
        for _ in range(3):
            beats = bench.scheduler.heartbeat.count
            async with asyncio.timeout(10):
                while bench.scheduler.heartbeat.count == beats:
                    bench.scheduler.poke()
                    await asyncio.sleep(0.005)
        assert bench.scheduler.trouble == "There is no space left; make room."
    await bench.pass_time(5)
    assert bench.troubles == ["There is no space left; make room.", None]
    assert await bench.statuses() == [PENDING]


async def test_a_decision_that_could_not_be_written_is_made_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await bench.add(definition(every(900)))

    async def full(*_: object, **__: object) -> None:
        raise DiskFull("There is no space left; make room.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.schedule, "admit", full)
        await bench.pass_time(900)
        assert (await bench.statuses(), bench.decider.n_waiting) == ([OccurrenceStatus.CLAIMED], 1)
    await bench.pass_time(5)
    assert (await bench.statuses(), bench.decider.n_waiting) == ([PENDING], 0)


async def test_a_scheduler_that_hangs_goes_on_after_a_restart_with_what_it_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    entered = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        entered.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.schedule, "claim", hang)
        bench.clock.advance(900)
        bench.scheduler.poke()
        await asyncio.wait_for(entered.wait(), 10)
    await bench.scheduler.restart()
    await bench.look()
    assert await bench.statuses() == [PENDING]


async def test_a_due_time_that_was_claimed_by_a_task_that_hung_right_after_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    claim = bench.store.schedule.claim
    claimed = asyncio.Event()

    async def claim_and_hang(*values: object, **named: object) -> None:
        await claim(*values, **named)  # type: ignore[arg-type]
        claimed.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.schedule, "claim", claim_and_hang)
        bench.clock.advance(900)
        bench.scheduler.poke()
        await asyncio.wait_for(claimed.wait(), 10)
    assert await bench.statuses() == [OccurrenceStatus.CLAIMED]
    await bench.scheduler.restart()
    await bench.look_anew()
    assert await bench.statuses() == [PENDING]


async def test_what_is_in_the_hands_of_the_decider_stays_there_through_a_restart(bench: Bench) -> None:
    await bench.start()
    await bench.add(definition(every(900), gates=(ALWAYS,)))
    hold = bench.gates.hold["Writer"] = asyncio.Event()
    bench.clock.advance(900)
    async with asyncio.timeout(10):
        while not bench.gates.asked:
            bench.scheduler.poke()
            await asyncio.sleep(0.01)
    await bench.scheduler.restart()
    hold.set()
    await bench.look_anew()
    assert [(row.status, row.fence) for row in await bench.rows()] == [(PENDING, 1)]


async def test_a_gap_that_is_noticed_while_the_future_is_planned_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    replanned: list[bool] = []
    reconcile = Arming.reconcile

    async def slow(self: Arming, now: datetime, *, replan: bool = False) -> bool:
        replanned.append(replan)
        if len(replanned) == 1:
            await bench.scheduler.after_gap("sleep")
        return await reconcile(self, now, replan=replan)

    monkeypatch.setattr(Arming, "reconcile", slow)
    await bench.refresh()
    await bench.look_anew()
    assert replanned == [False, True]


async def test_a_wake_reaches_everybody_though_one_agent_was_removed_a_moment_ago(bench: Bench) -> None:
    await bench.start()
    gone = await bench.add(definition(WakeTrigger(), name="Gone"))
    await bench.add(definition(WakeTrigger(), name="Stays"))
    await bench.store.agents.remove(gone.id)
    assert [row.agent_name for row in await bench.scheduler.happened(TriggerKind.WAKE, "1")] == ["Stays"]


async def test_a_thousand_due_times_in_the_same_second_each_run_once(bench: Bench) -> None:
    for index in range(1000):
        await bench.store.agents.add(definition(cron("0 * * * *"), name=f"Agent {index}"), "source")
    await bench.start()
    assert len(await bench.armed()) == 1000
    await bench.pass_time(HOUR_S)
    assert Counter(await bench.statuses()) == {PENDING: 1000}
    assert len({run.agent_id for run in bench.admitted}) == 1000
    assert len(await bench.armed()) == 1000


def test_the_clock_of_these_tests_is_in_utc() -> None:
    assert FakeClock().now().tzinfo is UTC


async def test_a_scheduler_whose_claim_hangs_is_restarted_by_its_watchdog_and_the_due_time_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await bench.add(definition(every(900)))
    claim = bench.store.schedule.claim
    hung = asyncio.Event()

    async def hang_once(*values: object, **named: object) -> object:
        if hung.is_set():
            return await claim(*values, **named)  # type: ignore[arg-type]
        hung.set()
        return await asyncio.Event().wait()

    incidents: list[IncidentKind] = []

    async def record(kind: IncidentKind, _: str) -> None:
        incidents.append(kind)

    watchdog = Watchdog(
        scheduler=bench.scheduler,
        count_overdue=bench.store.schedule.overdue,
        clock=SystemClock(),
        on_incident=record,
        stuck_s=0.3,
        look_s=0.03,
    )
    monkeypatch.setattr(bench.store.schedule, "claim", hang_once)
    bench.clock.advance(900)
    bench.scheduler.poke()
    await asyncio.wait_for(hung.wait(), 10)
    watchdog.start()
    try:
        async with asyncio.timeout(20):
            while not (incidents and bench.admitted):
                await asyncio.sleep(0.01)
    finally:
        await watchdog.stop()
    assert incidents[0] in (IncidentKind.SCHEDULER_STUCK, IncidentKind.DUE_UNCLAIMED)
    assert await bench.statuses() == [PENDING]
