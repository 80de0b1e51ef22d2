"""The rows that the ledger should have: what comes next, and what passed while nobody was there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.core import (
    Agent,
    AgentDefinition,
    AgentKind,
    Occurrence,
    OccurrenceStatus,
)
from agents.errors import UsageProblem
from agents.policies import Misfire, MisfirePolicy, RunPolicy
from agents.scheduling.due_times import count_between
from agents.scheduling.misfire import GRACE
from agents.scheduling.plan import OWN_ROWS, Gap, due_key, gap, next_row
from agents.scheduling.simulate import simulate
from agents.triggers import (
    CronTrigger,
    IntervalTrigger,
    OnceTrigger,
    StartTrigger,
    TimedTrigger,
    Trigger,
    trigger_key,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOURLY = CronTrigger(schedule="0 * * * *", zone="Europe/Berlin")


def an_agent(*triggers: Trigger, **policy: Any) -> Agent:
    definition = AgentDefinition(
        name="Writer",
        description="Writes.",
        kind=AgentKind.WRITE,
        triggers=triggers,
        read_folders=(Path("/tmp"),),
        policy=RunPolicy(misfire=Misfire(**policy)),
    )
    return Agent(
        id=7, revision_id=1, revision=1, paused=False, created_at=NOW, source="", definition=definition
    )


def a_row(trigger: TimedTrigger, due_at: datetime, *, id: int = 1, agent_id: int = 7) -> Occurrence:  # noqa: A002
    key = trigger_key(trigger)
    return Occurrence(
        id=id,
        agent_id=agent_id,
        agent_name="Writer",
        trigger=trigger.on,
        trigger_key=key,
        key=due_key(key, due_at),
        due_at=due_at,
        status=OccurrenceStatus.SCHEDULED,
        reason=None,
        created_at=NOW,
        claimed_at=None,
        fence=0,
        path=None,
        content_hash=None,
        input=None,
    )


def ran(found: Gap) -> list[datetime]:
    return [row.due_at for row in found.run]


def test_a_row_names_its_due_time_to_the_microsecond():
    row = next_row(7, HOURLY, after=NOW, anchor=NOW)
    assert row is not None
    assert row.due_at == NOW + timedelta(hours=1)
    assert row.key == f"{trigger_key(HOURLY)}:{int(row.due_at.timestamp()) * 1_000_000}"
    assert (row.agent_id, row.trigger, row.trigger_key) == (7, HOURLY.on, trigger_key(HOURLY))


def test_an_interval_goes_on_from_the_newest_row_that_is_known():
    trigger = IntervalTrigger(every_s=600)
    row = next_row(7, trigger, after=NOW, anchor=NOW - timedelta(seconds=1_000))
    assert row is not None
    assert row.due_at == NOW + timedelta(seconds=200)


def test_a_moment_that_has_passed_has_no_row():
    trigger = OnceTrigger(at=NOW, zone="Europe/Berlin")
    assert next_row(7, trigger, after=NOW, anchor=NOW) is None


def test_a_zone_that_has_vanished_from_the_system_has_no_row_and_stops_nobody():
    trigger = CronTrigger(schedule="0 8 * * *", zone="Atlantis/Capital")
    assert next_row(7, trigger, after=NOW, anchor=NOW) is None
    found = gap([an_agent(trigger)], [a_row(trigger, NOW - timedelta(hours=1))], now=NOW)
    assert ran(found) == [NOW - timedelta(hours=1)]


def test_a_row_in_time_runs_and_nothing_is_missed():
    found = gap([an_agent(HOURLY)], [a_row(HOURLY, NOW)], now=NOW + GRACE)
    assert ran(found) == [NOW]
    assert (found.missed, found.known_missed) == ((), {})


def test_nothing_is_missed_that_no_row_promised():
    assert gap([an_agent(HOURLY)], [], now=NOW) == Gap(known_missed={})
    assert gap([an_agent(HOURLY)], [a_row(HOURLY, NOW)], now=NOW - GRACE) == Gap(known_missed={})


def test_rows_of_a_trigger_that_the_agent_no_longer_has_are_left_alone():
    other = IntervalTrigger(every_s=60)
    assert gap([an_agent(StartTrigger(), HOURLY)], [a_row(other, NOW)], now=NOW) == Gap(known_missed={})
    assert gap([an_agent(HOURLY)], [a_row(HOURLY, NOW, agent_id=8)], now=NOW) == Gap(known_missed={})


def test_of_a_gap_the_newest_runs_and_the_others_are_missed_one_by_one():
    now = NOW + timedelta(hours=3, minutes=30)
    found = gap([an_agent(HOURLY)], [a_row(HOURLY, NOW, id=5)], now=now)
    assert ran(found) == [NOW + timedelta(hours=3)]
    assert [row.due_at for row, _ in found.missed] == [NOW + timedelta(hours=1), NOW + timedelta(hours=2)]
    assert list(found.known_missed) == [5]
    reasons = {reason for _, reason in found.missed} | set(found.known_missed.values())
    assert reasons == {"Hearth could not start it in time; a newer one runs in its place."}


def test_run_all_catches_up_with_the_newest_and_the_known_row_may_be_one_of_them():
    now = NOW + timedelta(hours=1, minutes=30)
    agent = an_agent(HOURLY, policy=MisfirePolicy.RUN_ALL, at_most=3)
    found = gap([agent], [a_row(HOURLY, NOW)], now=now)
    assert ran(found) == [NOW, NOW + timedelta(hours=1)]
    assert (found.missed, found.known_missed) == ((), {})


def test_older_due_times_of_a_long_gap_share_one_row_that_names_their_span():
    trigger = CronTrigger(schedule="* * * * *", zone="Europe/Berlin")
    end = NOW + timedelta(days=365)
    found = gap([an_agent(trigger)], [a_row(trigger, NOW)], now=end + timedelta(seconds=59))
    (older, reason), *own = found.missed
    assert ran(found) == [end]
    assert [row.due_at for row, _ in own] == [end - timedelta(minutes=n) for n in range(OWN_ROWS - 1, 0, -1)]
    assert older.n_due == 365 * 24 * 60 - OWN_ROWS
    assert older.due_at == end - timedelta(minutes=OWN_ROWS)
    assert reason == (
        "525,500 due times from Monday 2 March 2026 at 13:01 to Tuesday 2 March 2027 at 11:20 "
        "passed while Hearth could not run them."
    )


def test_one_older_due_time_is_told_in_the_singular_by_the_users_clock():
    trigger = IntervalTrigger(every_s=60)
    now = NOW + timedelta(minutes=OWN_ROWS + 1)
    found = gap([an_agent(trigger)], [a_row(trigger, NOW)], now=now, zone=ZoneInfo("Asia/Tokyo"))
    row, reason = found.missed[0]
    assert row.n_due == 1
    assert reason == ("A due time on Monday 2 March 2026 at 21:01 passed while Hearth could not run it.")


misfires = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(MisfirePolicy),
        "at_most": st.integers(1, 130),
        "within_s": st.none() | st.integers(60, 10**6),
    }
)
triggers = st.one_of(
    st.sampled_from(["0 * * * *", "*/10 * * * *", "30 2 * * *", "0 8 * * 1-5"]).map(
        lambda schedule: CronTrigger(schedule=schedule, zone="America/New_York")
    ),
    st.integers(60, 100_000).map(lambda seconds: IntervalTrigger(every_s=seconds)),
)


@settings(max_examples=80, deadline=None)
@given(trigger=triggers, policy=misfires, passed_s=st.integers(0, 30 * 86_400))
def test_every_due_time_of_a_gap_is_in_exactly_one_row(
    trigger: TimedTrigger, policy: dict[str, Any], passed_s: int
):
    first = next_row(7, trigger, after=NOW, anchor=NOW)
    assert first is not None
    row = a_row(trigger, first.due_at)
    now = first.due_at + timedelta(seconds=passed_s)
    found = gap([an_agent(trigger, **policy)], [row], now=now)
    known = int(row.due_at in ran(found)) + len(found.known_missed)
    assert known == 1
    new_runs = [due for due in ran(found) if due != row.due_at]
    total = len(new_runs) + sum(missed.n_due for missed, _ in found.missed)
    assert total == count_between(trigger, start=first.due_at, end=now, anchor=first.due_at)
    keys = [missed.key for missed, _ in found.missed] + [new.key for new in found.run]
    assert len(set(keys)) == len(keys)
    assert all(reason.endswith(".") for _, reason in found.missed)


@settings(max_examples=60, deadline=None)
@given(trigger=triggers, policy=misfires, passed_s=st.integers(0, 30 * 86_400))
def test_after_a_crash_in_the_middle_the_same_is_decided_again(
    trigger: TimedTrigger, policy: dict[str, Any], passed_s: int
):
    first = next_row(7, trigger, after=NOW, anchor=NOW)
    assert first is not None
    known = a_row(trigger, first.due_at, id=1)
    now = first.due_at + timedelta(seconds=passed_s)
    agent = an_agent(trigger, **policy)
    before = gap([agent], [known], now=now)
    planned = [
        a_row(trigger, row.due_at, id=number)
        for number, row in enumerate(before.run, 2)
        if row.key != known.key
    ]
    again = gap([agent], [known, *planned], now=now)
    assert again.run == before.run
    assert {missed.key for missed, _ in again.missed} <= {missed.key for missed, _ in before.missed}
    assert again.known_missed == before.known_missed


@pytest.mark.parametrize("n", [1, 5])
def test_a_simulation_merges_the_triggers_of_an_agent_by_time(n: int):
    half_past = CronTrigger(schedule="30 * * * *", zone="UTC")
    once = OnceTrigger(at=NOW + timedelta(minutes=45), zone="UTC")
    definition = an_agent(HOURLY, StartTrigger(), half_past, once, HOURLY).definition
    firings = simulate(definition, start=NOW, end=None, limit=n)
    expected = [(30, half_past), (45, once), (60, HOURLY), (90, half_past), (120, HOURLY)]
    assert [(firing.due.at, firing.trigger) for firing in firings] == [
        (NOW + timedelta(minutes=minutes), trigger) for minutes, trigger in expected[:n]
    ]


def test_a_simulation_of_a_past_week_ends_where_it_should():
    start = NOW - timedelta(days=7)
    firings = simulate(an_agent(HOURLY).definition, start=start, end=NOW, limit=1_000)
    assert len(firings) == 7 * 24
    assert firings[-1].due.at == NOW


def test_a_simulation_counts_intervals_from_where_they_are_armed():
    trigger = IntervalTrigger(every_s=600)
    armed_at = NOW - timedelta(seconds=30)
    definition = an_agent(trigger).definition
    anchors = {trigger_key(trigger): armed_at}
    (firing,) = simulate(definition, start=NOW, end=None, limit=1, anchors=anchors)
    assert firing.due.at == armed_at + timedelta(seconds=600)
    (firing,) = simulate(definition, start=NOW, end=None, limit=1)
    assert firing.due.at == NOW + timedelta(seconds=600)


def test_a_simulation_notes_what_daylight_saving_does():
    trigger = CronTrigger(schedule="30 2 * * *", zone="Europe/Berlin")
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    firings = simulate(an_agent(trigger).definition, start=start, end=None, limit=2)
    assert [firing.due.note for firing in firings] == [
        "02:30 does not exist that day; it runs at 03:00.",
        None,
    ]


def test_a_simulation_in_a_zone_that_has_vanished_says_so():
    trigger = CronTrigger(schedule="30 2 * * *", zone="Atlantis/Capital")
    with pytest.raises(UsageProblem, match="There is no time zone “Atlantis/Capital”"):
        simulate(an_agent(trigger).definition, start=NOW, end=None, limit=1)


def test_an_agent_without_timed_triggers_has_nothing_to_simulate():
    assert simulate(an_agent(StartTrigger()).definition, start=NOW, end=None, limit=10) == []
