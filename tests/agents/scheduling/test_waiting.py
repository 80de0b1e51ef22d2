"""What happened waits for hours, power, the stop switch and run limits; a time of a schedule does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.core import Agent, FileState, HeldBy, NewOccurrence, Occurrence, OccurrenceStatus
from agents.policies import Budget, Misfire, MisfirePolicy, Overlap, OverlapPolicy, RunPolicy
from agents.scheduling.models_due import models_due
from agents.scheduling.run_limits import next_day
from agents.scheduling.waiting import LOOK_AGAIN, RARELY
from agents.storage import Store
from agents.triggers import (
    ChangedGate,
    FileTrigger,
    Gate,
    HoursGate,
    PowerGate,
    ResultTrigger,
    Trigger,
    TriggerKind,
    WakeTrigger,
    WebhookTrigger,
    trigger_key,
)
from tests.agents.conftest import FakeClock
from tests.agents.scheduling.houses import Bench, definition, every, opened

HOOK = WebhookTrigger(hook="mail")
FILES = FileTrigger(folders=(Path("/tmp"),))
POWER = PowerGate()


@pytest.fixture
async def bench(store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    async with opened(store, clock) as made:
        made.gates.is_open = False
        await made.start()
        yield made


def opens_in(bench: Bench, hours: int) -> HoursGate:
    """A gate that opens so many hours from now, for one hour."""
    opening = bench.clock.now() + timedelta(hours=hours)
    closing = opening + timedelta(hours=1)
    return HoursGate(start=opening.time(), end=closing.time(), zone="UTC")


def within(seconds: float) -> RunPolicy:
    return RunPolicy(misfire=Misfire(policy=MisfirePolicy.RUN_ONCE, within_s=seconds))


async def happens(bench: Bench, agent: Agent, key: str = "happened") -> Occurrence:
    """What the agent's first trigger waits for, a second from now."""
    bench.clock.advance(1)
    trigger = agent.definition.triggers[0]
    row = await bench.scheduler.announce(
        NewOccurrence(
            agent_id=agent.id,
            trigger=trigger.on,
            trigger_key=trigger_key(trigger),
            key=key,
            due_at=bench.clock.now(),
        )
    )
    assert row is not None
    await bench.look()
    return row


async def status_of(bench: Bench, row: Occurrence) -> OccurrenceStatus:
    return (await bench.store.schedule.get(row.id)).status


@pytest.mark.parametrize("trigger", [FILES, HOOK, ResultTrigger(agent="Other")], ids=lambda it: it.on.value)
async def test_what_happened_outside_an_agents_hours_runs_when_they_begin(
    bench: Bench, trigger: Trigger
) -> None:
    agent = await bench.add(definition(trigger, gates=(opens_in(bench, 3),), policy=within(60)))
    opening = bench.clock.now() + timedelta(hours=3)
    row = await happens(bench, agent)
    assert (await bench.store.schedule.get(row.id)).held_until == opening
    assert await bench.store.schedule.next_due() == opening
    await bench.pass_time(3 * 3600 - 2)
    assert bench.gates.asked["Writer"] == 1  # nobody asked in between
    bench.gates.is_open = True
    await bench.pass_time(1)
    assert [run.occurrence_id for run in bench.admitted] == [row.id]
    assert bench.ended == []


async def test_it_waits_again_when_the_gate_is_still_closed_and_each_claim_has_a_greater_fence(
    bench: Bench,
) -> None:
    agent = await bench.add(definition(HOOK, gates=(POWER,)))
    row = await happens(bench, agent)
    for _ in range(3):
        await bench.pass_time(LOOK_AGAIN.total_seconds())
    held = await bench.store.schedule.get(row.id)
    assert (held.status, held.fence) == (OccurrenceStatus.SCHEDULED, 4)
    bench.gates.is_open = True
    await bench.pass_time(LOOK_AGAIN.total_seconds())
    assert await status_of(bench, row) is OccurrenceStatus.PENDING


async def test_what_waits_is_no_waking_until_it_runs(bench: Bench) -> None:
    agent = await bench.add(definition(HOOK, gates=(POWER,)))
    await happens(bench, agent)
    await bench.pass_time(LOOK_AGAIN.total_seconds())
    wakings = await bench.store.schedule.wakings(agent.id)
    assert (wakings.woken, wakings.free) == (0, 0)
    bench.gates.is_open = True
    await bench.pass_time(LOOK_AGAIN.total_seconds())
    wakings = await bench.store.schedule.wakings(agent.id)
    assert (wakings.woken, wakings.free) == (1, 0)


async def test_it_says_until_when_it_waits_and_for_what(bench: Bench) -> None:
    gate = HoursGate(start=time(8), end=time(18), zone="Europe/Berlin")
    at_work = await bench.add(definition(HOOK, name="Office", gates=(gate,)))
    plugged = await bench.add(definition(HOOK, name="Mains", gates=(POWER,)))
    bench.clock.time = datetime(2026, 3, 7, 20, 0, tzinfo=UTC)
    await happens(bench, at_work)
    await happens(bench, plugged)
    [row] = await bench.store.schedule.held(at_work.id)
    assert row.reason == "Waits until Sunday 8 March 2026 at 08:00: works from 08:00 to 18:00."
    [row] = await bench.store.schedule.held(plugged.id)
    assert row.reason == "Waits until the computer is plugged in."


async def test_a_computer_that_is_plugged_in_is_not_waited_for_any_longer(bench: Bench) -> None:
    plugged = await bench.add(definition(HOOK, name="Mains", gates=(POWER,)))
    hours = await bench.add(definition(HOOK, name="Office", gates=(opens_in(bench, 3),)))
    row, other = await happens(bench, plugged), await happens(bench, hours)
    bench.gates.is_open = True
    bench.scheduler.release(HeldBy.AC_POWER)
    await bench.pass_time(1)
    assert await status_of(bench, row) is OccurrenceStatus.PENDING
    assert await status_of(bench, other) is OccurrenceStatus.SCHEDULED


@pytest.mark.parametrize("what", ["revised", "resumed", "woken", "restarted"])
async def test_what_may_have_opened_a_gate_has_it_looked_at_again(bench: Bench, what: str) -> None:
    agent = await bench.add(definition(HOOK, gates=(opens_in(bench, 3),)))
    row = await happens(bench, agent)
    bench.gates.is_open = True
    match what:
        case "revised":
            await bench.store.agents.revise(agent.id, definition(HOOK, gates=(opens_in(bench, 0),)), "source")
            await bench.refresh()
        case "resumed":
            for paused in (True, False):
                await bench.store.agents.set_paused(agent.id, paused)
                await bench.refresh()
        case "woken":
            await bench.scheduler.after_gap("the computer slept")
        case "restarted":
            await bench.restart()
    await bench.pass_time(1)
    assert await status_of(bench, row) is OccurrenceStatus.PENDING


async def test_a_version_of_a_file_that_waits_is_not_announced_twice(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.add(definition(FILES, gates=(opens_in(bench, 3),)))
    state = FileState(path=tmp_path / "a", size_bytes=1, mtime_ns=1, inode=1, content_hash="h")
    new = NewOccurrence(
        agent_id=agent.id,
        trigger=TriggerKind.FILE_CHANGED,
        key="a:h",
        due_at=bench.clock.now(),
        path=state.path,
    )
    storm = [(tmp_path / name, name, 1) for name in "abc"]
    assert await bench.scheduler.announce(new, file_states=[state], files=storm) is not None
    await bench.pass_time(1)
    assert await bench.scheduler.announce(new, file_states=[state], files=storm) is None
    bench.gates.is_open = True
    await bench.pass_time(3 * 3600)
    [run] = bench.admitted
    assert await bench.store.runs.occurrence_files(run.occurrence_id) == storm


@pytest.mark.parametrize(
    ("trigger", "gate"),
    [(every(900), POWER), (WakeTrigger(), POWER), (HOOK, ChangedGate(paths=(Path("/tmp"),)))],
    ids=["a time", "a wake", "another gate"],
)
async def test_everything_else_ends_at_a_closed_gate(bench: Bench, trigger: Trigger, gate: Gate) -> None:
    agent = await bench.add(definition(trigger, gates=(gate,)))
    if trigger.on is TriggerKind.INTERVAL:
        await bench.pass_time(900)
    else:
        await happens(bench, agent)
    assert [row.status for row in bench.ended] == [OccurrenceStatus.SKIPPED]
    assert await bench.store.schedule.held(agent.id) == []


async def test_what_waits_needs_no_model_and_is_not_overdue(bench: Bench) -> None:
    agent = await bench.add(definition(HOOK, gates=(opens_in(bench, 3),)))
    await happens(bench, agent)
    await bench.pass_time(3600)
    now = bench.clock.now()
    assert models_due(await bench.store.schedule.armed(), {agent.id: agent}, now=now) == {}
    assert await bench.store.schedule.overdue(now) == 0


async def test_what_waits_for_an_agent_that_is_removed_ends_with_that_reason(bench: Bench) -> None:
    agent = await bench.add(definition(HOOK, gates=(POWER,)))
    row = await happens(bench, agent)
    await bench.store.agents.remove(agent.id)
    await bench.refresh()
    ended = await bench.store.schedule.get(row.id)
    assert (ended.status, ended.reason) == (OccurrenceStatus.MISSED, "Its agent was removed.")


async def test_many_that_wait_are_claimed_when_the_gate_opens_and_each_once(bench: Bench) -> None:
    agent = await bench.add(definition(HOOK, gates=(opens_in(bench, 1),)))
    for number in range(100):
        new = NewOccurrence(
            agent_id=agent.id, trigger=TriggerKind.WEBHOOK, key=f"call {number}", due_at=bench.clock.now()
        )
        await bench.scheduler.announce(new)
    await bench.look()
    async with asyncio.timeout(20):
        while len(await bench.store.schedule.held(agent.id)) < 100:
            await asyncio.sleep(0.01)
    bench.gates.is_open = True
    await bench.pass_time(3600)
    assert sorted(run.occurrence_id for run in bench.admitted) == sorted(
        {run.occurrence_id for run in bench.admitted}
    )
    assert len(bench.admitted) == 100


# --- the switch that stops all agents, and limits on the number of runs ---------------------------

HAPPENINGS = pytest.mark.parametrize(
    "trigger", [FILES, HOOK, ResultTrigger(agent="Other")], ids=lambda it: it.on.value
)


def limited(**budget: int) -> RunPolicy:
    return RunPolicy(budget=Budget(**budget))


@HAPPENINGS
async def test_what_happened_while_all_agents_were_stopped_runs_once_they_are_let_go_on(
    bench: Bench, trigger: Trigger
) -> None:
    agent = await bench.add(definition(trigger))
    bench.house.stop_reason = "All agents are stopped."
    row = await happens(bench, agent)
    [held] = await bench.store.schedule.held(agent.id)
    assert held.reason == "Waits: All agents are stopped."
    await bench.pass_time(3600)
    assert (await bench.store.schedule.get(row.id)).fence == 1  # nobody looked in between
    bench.house.stop_reason = None
    bench.scheduler.release(HeldBy.STOPPED)
    await bench.pass_time(1)
    assert [run.occurrence_id for run in bench.admitted] == [row.id]
    assert bench.ended == []


async def test_agents_that_were_let_go_on_without_a_word_are_found_out_after_some_hours(bench: Bench) -> None:
    agent = await bench.add(definition(HOOK))
    bench.house.stop_reason = "All agents are stopped."
    row = await happens(bench, agent)
    bench.house.stop_reason = None
    await bench.pass_time(RARELY.total_seconds())
    assert await status_of(bench, row) is OccurrenceStatus.PENDING


async def test_agents_that_are_let_go_on_while_a_wait_for_it_is_written_down_are_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await bench.add(definition(HOOK))
    bench.house.stop_reason = "All agents are stopped."
    put_off = bench.store.schedule.put_off

    async def meanwhile(occurrence_id: int, **how: Any) -> Occurrence:
        bench.house.stop_reason = None
        await bench.store.schedule.release(held_by=HeldBy.STOPPED)
        return await put_off(occurrence_id, **how)

    monkeypatch.setattr(bench.store.schedule, "put_off", meanwhile)
    row = await happens(bench, agent)
    await bench.pass_time(1)
    assert await status_of(bench, row) is OccurrenceStatus.PENDING


@HAPPENINGS
async def test_what_happened_when_the_runs_of_an_hour_were_used_up_runs_in_order_as_the_hour_allows_it(
    bench: Bench, trigger: Trigger
) -> None:
    policy = RunPolicy(budget=Budget(runs_per_hour=2), overlap=Overlap(policy=OverlapPolicy.QUEUE))
    agent = await bench.add(definition(trigger, name="Inbox", policy=policy))
    rows = [await happens(bench, agent, f"{number}") for number in range(5)]
    [waiting, *_] = await bench.store.schedule.held(agent.id)
    assert waiting.reason == "Waits: “Inbox” may run 2 times an hour, and did."
    assert [run.occurrence_id for run in bench.admitted] == [row.id for row in rows[:2]]
    # The hour ends a second apart for the first two, and again for the two that took their places.
    for seconds, n_admitted in ((3600 - 4.5, 2), (1, 3), (1, 4), (3600 - 2, 4), (2, 5)):
        await bench.pass_time(seconds)
        assert [run.occurrence_id for run in bench.admitted] == [row.id for row in rows[:n_admitted]]
    assert bench.ended == []


async def test_what_happened_when_the_runs_of_a_day_were_used_up_runs_after_midnight(bench: Bench) -> None:
    bench.house.house_budget = Budget(runs_per_day=1)
    one, two = await bench.add(definition(HOOK, name="One")), await bench.add(definition(HOOK, name="Two"))
    await happens(bench, one)
    row = await happens(bench, two)
    [held] = await bench.store.schedule.held(two.id)
    assert held.reason == "Waits: All agents together may run 1 time a day, and did."
    assert held.held_until == next_day(bench.clock.now())
    left_s = (next_day(bench.clock.now()) - bench.clock.now()).total_seconds()
    await bench.pass_time(left_s - 1)
    assert await status_of(bench, row) is OccurrenceStatus.SCHEDULED
    await bench.pass_time(1)
    assert await status_of(bench, row) is OccurrenceStatus.PENDING


async def test_a_greater_limit_has_what_waits_looked_at_again(bench: Bench) -> None:
    agent = await bench.add(definition(FILES, policy=limited(runs_per_day=1)))
    await happens(bench, agent, "one")
    row = await happens(bench, agent, "two")
    await bench.store.agents.revise(agent.id, definition(FILES, policy=limited(runs_per_day=2)), "source")
    await bench.refresh()
    await bench.pass_time(1)
    assert await status_of(bench, row) is OccurrenceStatus.PENDING


async def test_a_storm_of_files_waits_with_all_of_them(bench: Bench, tmp_path: Path) -> None:
    agent = await bench.add(definition(FILES, policy=limited(runs_per_hour=1)))
    await happens(bench, agent)
    now = bench.clock.now()
    new = NewOccurrence(agent_id=agent.id, trigger=TriggerKind.FILE_CHANGED, key="storm", due_at=now)
    storm = [(tmp_path / name, name, 1) for name in "abc"]
    assert await bench.scheduler.announce(new, files=storm) is not None
    await bench.pass_time(1)
    assert len(bench.admitted) == 1
    await bench.pass_time(3600)
    assert await bench.store.runs.occurrence_files(bench.admitted[-1].occurrence_id) == storm


@pytest.mark.parametrize("trigger", [every(900), WakeTrigger()], ids=["a time", "a wake"])
@pytest.mark.parametrize("stopped", [True, False], ids=["all are stopped", "a limit is used up"])
async def test_a_time_and_a_wake_end_where_what_happened_waits(
    bench: Bench, trigger: Trigger, stopped: bool
) -> None:
    agent = await bench.add(definition(trigger, name="Inbox", policy=limited(runs_per_hour=0)))
    bench.house.stop_reason = "All agents are stopped." if stopped else None
    if trigger.on is TriggerKind.INTERVAL:
        await bench.pass_time(900)
    else:
        await happens(bench, agent)
    reason = "All agents are stopped." if stopped else "“Inbox” may run 0 times an hour, and did."
    assert [(row.status, row.reason) for row in bench.ended] == [(OccurrenceStatus.SKIPPED, reason)]
    assert await bench.store.schedule.held(agent.id) == []
