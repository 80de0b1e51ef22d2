"""Due times lie ahead as rows, are claimed by one runtime at a time, and end in a run or with a reason."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agents.core import (
    Agent,
    FileState,
    GateOutcome,
    HeldBy,
    NewOccurrence,
    Occurrence,
    OccurrenceStatus,
    Owner,
    RunStatus,
    Wakings,
)
from agents.errors import Conflict, NotFound
from agents.storage import Store
from agents.triggers import GateKind, TriggerKind
from tests.agents.conftest import FakeClock, definition_of
from tests.agents.storage.databases import occurrence

ME = Owner(pid=7, started_at="10.0", boot_id="this boot")
OTHER = Owner(pid=7, started_at="10.0", boot_id="another boot")
KEY = "cron:0123456789abcdef"
MINUTE = timedelta(minutes=1)
OPEN = GateOutcome(gate=GateKind.CHANGED, key="changed:1", is_open=True, detail="2 files.", state="two")
CLOSED = GateOutcome(gate=GateKind.HOURS, key="hours:1", is_open=False, detail="It is night.", state="night")


def at(
    agent: Agent, due: datetime, *, trigger_key: str = KEY, trigger: TriggerKind = TriggerKind.CRON
) -> NewOccurrence:
    return NewOccurrence(
        agent_id=agent.id,
        trigger=trigger,
        trigger_key=trigger_key,
        key=f"{trigger_key}:{due.timestamp():.6f}",
        due_at=due,
    )


async def claimed(store: Store, new: NewOccurrence, *, owner: Owner = ME) -> Occurrence:
    await store.schedule.plan([new])
    ids = [row.id for row in await store.schedule.armed() if row.key == new.key]
    (row,) = await store.schedule.claim(ids, owner=owner, plan=())
    return row


# --- ahead of time ---


async def test_a_planned_due_time_is_one_row_however_often_it_is_planned(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    later, sooner = at(agent, clock.now() + 2 * MINUTE), at(agent, clock.now() + MINUTE)

    assert await store.schedule.plan([later, sooner, later]) == 2
    assert await store.schedule.plan([sooner]) == 0

    assert [row.key for row in await store.schedule.armed(agent.id)] == [sooner.key, later.key]
    (first, _) = await store.schedule.armed()
    assert (first.status, first.trigger_key, first.fence, first.run_id) == (
        OccurrenceStatus.SCHEDULED,
        KEY,
        0,
        None,
    )
    assert await store.schedule.next_due() == sooner.due_at
    assert await store.runs.list() == []


async def test_a_withdrawal_takes_what_lies_ahead_and_leaves_what_was_promised(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    overdue, kept, gone = (
        at(agent, clock.now() - MINUTE),
        at(agent, clock.now() + MINUTE, trigger_key="interval:kept", trigger=TriggerKind.INTERVAL),
        at(agent, clock.now() + MINUTE),
    )
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    await store.schedule.plan([overdue, kept, gone, at(other, gone.due_at)])
    hook = at(agent, clock.now() + MINUTE, trigger_key="webhook:1", trigger=TriggerKind.WEBHOOK)
    await store.schedule.announce(hook)

    assert await store.schedule.withdraw(agent.id, keep=["interval:kept"]) == 1

    assert {row.key for row in await store.schedule.armed(agent.id)} == {overdue.key, kept.key, hook.key}
    assert len(await store.schedule.armed(other.id)) == 1
    assert await store.schedule.plan([gone]) == 1, "nothing was promised, so it may be planned again"


async def test_an_anchor_is_the_newest_due_time_whatever_became_of_it(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    row = await claimed(store, at(agent, clock.now()))
    await store.schedule.admit(row.id, fence=row.fence, gates=())
    missed = at(agent, clock.now() + MINUTE)
    await store.schedule.record_missed([(missed, "The computer slept.")])
    await store.schedule.announce(
        at(agent, clock.now() + 5 * MINUTE, trigger_key="start:1", trigger=TriggerKind.START)
    )

    assert await store.schedule.anchors() == {(agent.id, KEY): missed.due_at}


# --- due ---


async def test_what_is_due_comes_oldest_first_and_not_from_agents_that_may_not_work(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    paused = await store.agents.add(definition_of(Path("/x"), name="Paused"), "s")
    removed = await store.agents.add(definition_of(Path("/x"), name="Removed"), "s")
    newer, older = at(agent, clock.now()), at(agent, clock.now() - MINUTE)
    await store.schedule.plan(
        [newer, older, at(agent, clock.now() + MINUTE), at(paused, older.due_at), at(removed, older.due_at)]
    )
    await store.agents.set_paused(paused.id, True)
    await store.agents.remove(removed.id)

    assert [row.key for row in await store.schedule.due(clock.now(), limit=9)] == [older.key, newer.key]
    assert [row.key for row in await store.schedule.due(clock.now(), limit=1)] == [older.key]
    assert await store.schedule.next_due() == older.due_at
    assert await store.schedule.overdue(clock.now()) == 1
    assert await store.schedule.plan([at(removed, clock.now())]) == 0
    assert (
        await store.schedule.claim(
            [row.id for row in await store.schedule.armed(paused.id)], owner=ME, plan=()
        )
        == []
    )


async def test_of_many_claims_of_the_same_rows_each_row_goes_to_one(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    await store.schedule.plan([at(agent, clock.now() - number * MINUTE) for number in range(10)])
    ids = [row.id for row in await store.schedule.due(clock.now(), limit=10)]
    following = at(agent, clock.now() + MINUTE)

    claims = await asyncio.gather(
        *(store.schedule.claim(ids, owner=owner, plan=[following]) for owner in (ME, OTHER) * 5)
    )

    assert [len(claim) for claim in claims] == [10, *[0] * 9]
    assert [row.id for row in claims[0]] == ids
    for row in claims[0]:
        assert (row.status, row.fence, row.claimed_at) == (OccurrenceStatus.CLAIMED, 1, clock.now())
    assert [row.key for row in await store.schedule.armed()] == [following.key]


async def test_an_admitted_due_time_is_a_run_of_the_current_revision_and_its_gates_are_kept(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    new = replace(at(agent, clock.now()), input={"said": "Grüße \ud800"})
    row = await claimed(store, new)
    agent = await store.agents.revise(agent.id, agent.definition, "new words")
    not_before = clock.now() + timedelta(seconds=7)

    run = await store.schedule.admit(row.id, fence=row.fence, gates=[OPEN], not_before=not_before)

    assert (run.status, run.revision_id, run.not_before) == (RunStatus.PENDING, agent.revision_id, not_before)
    assert (run.due_at, run.trigger, run.input) == (new.due_at, TriggerKind.CRON, new.input)
    assert await store.schedule.gate_rows(row.id) == [replace(OPEN, state=None)]
    assert await store.schedule.gate_states(agent.id) == {OPEN.key: "two"}
    kept = await store.runs.occurrence_of(run.id)
    assert (kept.id, kept.status, kept.run_id, kept.input) == (
        row.id,
        OccurrenceStatus.PENDING,
        run.id,
        new.input,
    )
    with pytest.raises(Conflict, match="is pending; it can't become pending"):
        await store.schedule.admit(row.id, fence=row.fence, gates=())
    assert len(await store.runs.list()) == 1


async def test_what_a_closed_gate_saw_is_not_kept(store: Store, agent: Agent, clock: FakeClock) -> None:
    row = await claimed(store, at(agent, clock.now()))

    ended = await store.schedule.end(
        row.id,
        fence=row.fence,
        status=OccurrenceStatus.SKIPPED,
        reason="It is night.",
        gates=[OPEN, CLOSED],
    )

    assert (ended.status, ended.reason, ended.run_id) == (OccurrenceStatus.SKIPPED, "It is night.", None)
    assert [outcome.is_open for outcome in await store.schedule.gate_rows(row.id)] == [True, False]
    assert await store.schedule.gate_states(agent.id) == {}


async def test_a_decision_under_an_old_claim_changes_nothing(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    old = await claimed(store, at(agent, clock.now()), owner=OTHER)
    assert [row.id for row in await store.schedule.recover(ME)] == [old.id]
    (again,) = await store.schedule.claim([old.id], owner=ME, plan=())
    assert again.fence > old.fence

    with pytest.raises(Conflict, match="claimed again since"):
        await store.schedule.admit(old.id, fence=old.fence, gates=())
    with pytest.raises(Conflict, match="claimed again since"):
        await store.schedule.end(
            old.id, fence=old.fence, status=OccurrenceStatus.SKIPPED, reason="No.", gates=[CLOSED]
        )

    assert await store.schedule.get(old.id) == again
    assert await store.schedule.gate_rows(old.id) == []
    await store.schedule.admit(again.id, fence=again.fence, gates=())


async def test_a_restart_frees_what_others_had_claimed_and_nothing_of_its_own(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    mine = await claimed(store, at(agent, clock.now()))
    left = await claimed(store, at(agent, clock.now() - MINUTE), owner=OTHER)

    recovered = await store.schedule.recover(ME)

    assert [(row.id, row.status) for row in recovered] == [(left.id, OccurrenceStatus.SCHEDULED)]
    assert (await store.schedule.get(mine.id)).status is OccurrenceStatus.CLAIMED
    assert await store.schedule.recover(ME) == []


async def test_of_its_own_a_runtime_takes_back_what_it_does_not_have_in_hand(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    in_hand = await claimed(store, at(agent, clock.now()))
    lost = await claimed(store, at(agent, clock.now() - MINUTE))

    assert [row.id for row in await store.schedule.recover(ME, in_hand=[in_hand.id])] == [lost.id]

    assert (await store.schedule.get(in_hand.id)) == in_hand
    (again,) = await store.schedule.claim([lost.id], owner=ME, plan=())
    assert again.fence > lost.fence


async def test_what_nobody_was_there_for_is_born_missed_and_never_takes_another_rows_place(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    planned = at(agent, clock.now())
    await store.schedule.plan([planned])
    many = replace(at(agent, clock.now() - MINUTE), n_due=250)

    rows = [(planned, "Off."), (many, "The computer was off."), (many, "Off.")]
    assert await store.schedule.record_missed(rows) == 1

    (missed,) = await store.schedule.list(status=OccurrenceStatus.MISSED)
    assert (missed.key, missed.n_due, missed.reason) == (many.key, 250, "The computer was off.")
    assert (await store.schedule.armed())[0].key == planned.key


async def test_an_event_is_announced_once_together_with_what_is_known_of_its_file(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    new = occurrence(agent.id, "file:a", path=Path("/inbox/a"), content_hash="h")
    state = FileState(path=Path("/inbox/a"), size_bytes=1, mtime_ns=2, inode=3, content_hash="h")

    row = await store.schedule.announce(new, file_states=[state])

    assert row is not None
    assert (row.status, row.path, row.content_hash) == (OccurrenceStatus.SCHEDULED, Path("/inbox/a"), "h")
    assert await store.files.known(agent.id) == {state.path: state}
    newer = replace(state, mtime_ns=9)
    assert await store.schedule.announce(new, file_states=[newer]) is None
    assert await store.files.known(agent.id) == {state.path: newer}
    await store.agents.remove(agent.id)
    with pytest.raises(NotFound):
        await store.schedule.announce(replace(new, key="file:b"))


async def test_a_storm_is_announced_together_with_all_its_files(store: Store, agent: Agent) -> None:
    paths = [Path("/inbox/a"), Path("/inbox/b")]
    states = [FileState(path=path, size_bytes=7, mtime_ns=2, inode=3, content_hash="h") for path in paths]
    new, files = occurrence(agent.id, "storm:1"), [(path, "h", 7) for path in paths]

    row = await store.schedule.announce(new, file_states=states, files=files)

    assert row is not None
    assert await store.runs.occurrence_files(row.id) == files
    assert (await store.files.known(agent.id)).keys() == set(paths)
    assert await store.schedule.announce(new, file_states=states, files=files) is None


async def test_a_due_time_ends_only_as_one_that_has_no_run_and_with_a_reason(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    row = await claimed(store, at(agent, clock.now()))
    for status, reason in ((OccurrenceStatus.SUCCEEDED, "x"), (OccurrenceStatus.MISSED, "")):
        with pytest.raises(ValueError, match="without a run"):
            await store.schedule.end(row.id, fence=row.fence, status=status, reason=reason)


# --- removing, counting, looking ---


async def test_with_its_agent_goes_everything_that_was_still_to_come(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    held = await claimed(store, at(agent, clock.now() - MINUTE))
    overdue, ahead = at(agent, clock.now()), at(agent, clock.now() + MINUTE)
    await store.schedule.plan([overdue, ahead])

    await store.agents.remove(agent.id)

    ended = {row.key: (row.status, row.reason) for row in await store.schedule.list()}
    assert ended == {
        held.key: (OccurrenceStatus.CANCELLED, "Its agent was removed."),
        overdue.key: (OccurrenceStatus.MISSED, "Its agent was removed."),
    }
    with pytest.raises(Conflict):
        await store.schedule.admit(held.id, fence=held.fence, gates=())


@pytest.mark.parametrize("cause", HeldBy)
async def test_what_waits_is_released_for_its_own_cause_and_no_other(
    store: Store, agent: Agent, clock: FakeClock, cause: HeldBy
) -> None:
    until = clock.now() + 60 * MINUTE
    for minutes, each in enumerate(HeldBy, start=1):
        new = at(agent, clock.now() - minutes * MINUTE, trigger=TriggerKind.WEBHOOK)
        row = await claimed(store, new)
        await store.schedule.put_off(row.id, fence=row.fence, until=until, held_by=each, reason=each.value)
    assert await store.schedule.due(clock.now(), limit=10) == []
    assert await store.schedule.release(held_by=cause) == 1
    assert len(await store.schedule.due(clock.now(), limit=10)) == 1
    assert {row.reason for row in await store.schedule.held(agent.id)} == set(HeldBy) - {cause}


async def test_the_nth_newest_run_is_one_of_the_agent_or_of_the_whole_house(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    other = await store.agents.add(replace(agent.definition, name="Other"), "source")
    times = []
    for number, whose in enumerate([agent, other, agent]):
        times.append(clock.now())
        await store.runs.record(occurrence(whose.id, f"file {number}"))
        clock.advance(60)
    newest = store.schedule.nth_newest_run
    assert [await newest(None, n) for n in (1, 2, 3, 4)] == [times[2], times[1], times[0], None]
    assert [await newest(agent.id, n) for n in (1, 2, 3)] == [times[2], times[0], None]


async def test_wakings_count_triggers_and_those_that_ended_without_a_run(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    async def decide(minutes: int, *gates: GateOutcome, status: OccurrenceStatus | None = None) -> None:
        row = await claimed(store, at(agent, clock.now() - minutes * MINUTE))
        if status is None:
            await store.schedule.admit(row.id, fence=row.fence, gates=gates)
        else:
            await store.schedule.end(row.id, fence=row.fence, status=status, reason="No.", gates=gates)

    assert await store.schedule.wakings(agent.id) == Wakings(woken=0, free=0)
    await decide(1, OPEN)
    await decide(2, OPEN, CLOSED, status=OccurrenceStatus.SKIPPED)
    await decide(3, CLOSED, status=OccurrenceStatus.SKIPPED)
    await decide(4, status=OccurrenceStatus.SKIPPED)  # a policy, after nothing was looked at
    await decide(5, status=OccurrenceStatus.MISSED)
    await store.schedule.record_missed([(at(agent, clock.now() - 6 * MINUTE), "Off.")])
    await store.runs.record(occurrence(agent.id, "a file"))
    await store.runs.record(replace(occurrence(agent.id, "by hand"), trigger=TriggerKind.MANUAL))

    assert await store.schedule.wakings(agent.id) == Wakings(woken=5, free=3)
    with pytest.raises(NotFound):
        await store.schedule.wakings(99)


async def test_runs_are_counted_for_overlap_and_for_budgets(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    started = clock.now()
    for owner, key in ((agent, "a"), (agent, "b"), (other, "c")):
        run = await store.runs.record(occurrence(owner.id, key))
        assert run is not None
        if key == "b":
            await store.runs.cancel_pending(run.id, "No.")
        clock.advance(60)

    assert await store.schedule.unfinished_runs(agent.id) == 1
    assert await store.schedule.runs_since(agent.id, started) == 2
    assert await store.schedule.runs_since(agent.id, started + MINUTE) == 1
    assert await store.schedule.runs_since(None, started) == 3


async def test_due_times_are_listed_newest_first_by_agent_status_and_time(
    store: Store, agent: Agent, clock: FakeClock
) -> None:
    other = await store.agents.add(definition_of(Path("/x"), name="Other"), "s")
    news = [at(agent, clock.now() + number * MINUTE) for number in range(4)]
    await store.schedule.plan(news)
    await store.schedule.plan([at(other, clock.now())])
    await store.schedule.record_missed([(at(agent, clock.now() - MINUTE), "Off.")])

    async def keys(**conditions: object) -> list[str]:
        return [row.key for row in await store.schedule.list(**conditions)]  # type: ignore[arg-type]

    mine = await keys(agent=agent.name.upper(), status=OccurrenceStatus.SCHEDULED)
    assert mine == [new.key for new in reversed(news)]
    assert await keys(since=news[1].due_at, until=news[3].due_at) == [news[2].key, news[1].key]
    page = await store.schedule.list(limit=2)
    rest = await store.schedule.list(before=page[-1].id)
    assert len(page) == 2
    assert [row.id for row in (*page, *rest)] == sorted((row.id for row in (*page, *rest)), reverse=True)
    assert len(rest) == 4
    assert await keys(agent="nobody") == []
