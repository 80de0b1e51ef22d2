"""What becomes of due times that come late, or meet a run that has not ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policies import Misfire, MisfirePolicy, Overlap, OverlapPolicy
from agents.scheduling.misfire import GRACE, sort_late
from agents.scheduling.overlap import OverlapDecision, Replace, Skip, Start, Wait, decide
from agents.triggers import TriggerKind

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def ago(*seconds: float) -> list[datetime]:
    return [NOW - timedelta(seconds=each) for each in seconds]


@pytest.mark.parametrize("policy", MisfirePolicy)
def test_what_is_in_time_runs_whatever_the_policy(policy: MisfirePolicy):
    decision = sort_late(ago(60, 30, 0), now=NOW, misfire=Misfire(policy=policy, within_s=10))
    assert decision.run == tuple(ago(60, 30, 0))
    assert decision.missed == ()


@pytest.mark.parametrize("policy", MisfirePolicy)
def test_a_due_time_ahead_of_a_clock_that_was_set_back_is_not_late(policy: MisfirePolicy):
    assert sort_late(ago(-3_600), now=NOW, misfire=Misfire(policy=policy)).run == tuple(ago(-3_600))


def test_skip_runs_nothing_late():
    decision = sort_late(ago(200, 61, 5), now=NOW, misfire=Misfire(policy=MisfirePolicy.SKIP))
    assert decision.run == tuple(ago(5))
    assert [due for due, _ in decision.missed] == ago(200, 61)
    assert (
        decision.missed[0][1] == "Hearth could not start it in time, and this agent leaves out what is late."
    )


def test_run_once_runs_the_newest():
    decision = sort_late(ago(300, 100, 200), now=NOW, misfire=Misfire())
    assert decision.run == tuple(ago(100))
    assert [due for due, _ in decision.missed] == ago(300, 200)
    assert decision.missed[0][1] == "Hearth could not start it in time; a newer one runs in its place."


def test_run_once_leaves_late_ones_out_when_one_is_in_time():
    decision = sort_late(ago(300, 10), now=NOW, misfire=Misfire())
    assert decision.run == tuple(ago(10))
    assert [due for due, _ in decision.missed] == ago(300)


def test_run_all_runs_the_newest_so_many_the_oldest_first():
    misfire = Misfire(policy=MisfirePolicy.RUN_ALL, at_most=2)
    decision = sort_late(ago(400, 300, 200, 5), now=NOW, misfire=misfire)
    assert decision.run == tuple(ago(300, 200, 5))
    assert decision.missed == (
        (*ago(400), "Hearth could not start it in time; only the newest 2 are caught up."),
    )


@pytest.mark.parametrize("policy", [MisfirePolicy.RUN_ONCE, MisfirePolicy.RUN_ALL])
def test_what_is_too_old_is_missed_and_says_so(policy: MisfirePolicy):
    misfire = Misfire(policy=policy, at_most=9, within_s=7_200)
    decision = sort_late(ago(7_201, 7_200), now=NOW, misfire=misfire)
    assert decision.run == tuple(ago(7_200))
    assert decision.missed == (
        (*ago(7_201), "Hearth could not start it in time, and it was more than 2 hours late."),
    )


misfires = st.builds(
    Misfire,
    policy=st.sampled_from(MisfirePolicy),
    at_most=st.integers(1, 5),
    within_s=st.none() | st.integers(1, 100_000),
)


@given(dues=st.lists(st.integers(-100, 200_000)).map(lambda all_s: ago(*all_s)), misfire=misfires)
def test_every_due_time_gets_exactly_one_answer(dues: list[datetime], misfire: Misfire):
    decision = sort_late(dues, now=NOW, misfire=misfire)
    missed = [due for due, _ in decision.missed]
    assert sorted([*decision.run, *missed]) == sorted(set(dues))
    assert list(decision.run) == sorted(decision.run)
    assert missed == sorted(missed)
    late = [due for due in decision.run if NOW - due > GRACE]
    assert len(late) <= misfire.at_most
    assert all(reason.endswith(".") for _, reason in decision.missed)


@given(dues=st.lists(st.integers(-100, 200_000)).map(lambda all_s: ago(*all_s)), misfire=misfires)
def test_asking_again_about_what_was_to_run_changes_nothing(dues: list[datetime], misfire: Misfire):
    run = sort_late(dues, now=NOW, misfire=misfire).run
    assert sort_late(run, now=NOW, misfire=misfire).run == run


@pytest.mark.parametrize(
    ("policy", "at_most", "unfinished", "decision"),
    [
        (OverlapPolicy.AUTO, 1, 0, Start()),
        (OverlapPolicy.SKIP, 1, 0, Start()),
        (OverlapPolicy.QUEUE, 1, 0, Start()),
        (OverlapPolicy.QUEUE, 1, 1, Wait()),
        (OverlapPolicy.REPLACE, 1, 0, Start()),
        (OverlapPolicy.REPLACE, 1, 2, Replace()),
        (OverlapPolicy.PARALLEL, 3, 2, Start()),
        (OverlapPolicy.PARALLEL, 3, 3, Wait()),
    ],
)
def test_a_due_time_that_meets_unfinished_runs(
    policy: OverlapPolicy, at_most: int, unfinished: int, decision: OverlapDecision
):
    assert decide(Overlap(policy=policy, at_most=at_most), unfinished=unfinished) == decision


def test_skipping_says_why():
    decision = decide(Overlap(policy=OverlapPolicy.SKIP), unfinished=1)
    assert isinstance(decision, Skip)
    assert decision.reason == "The run before it had not ended, and this agent leaves out what would overlap."


@pytest.mark.parametrize("trigger", TriggerKind)
def test_by_default_only_what_comes_again_by_itself_is_skipped(trigger: TriggerKind):
    again = {TriggerKind.CRON, TriggerKind.INTERVAL, TriggerKind.START, TriggerKind.WAKE, TriggerKind.IDLE}
    decision = decide(Overlap(), unfinished=1, trigger=trigger)
    assert isinstance(decision, Skip if trigger in again else Wait)
    assert decide(Overlap(), unfinished=1, trigger=trigger, is_wanted_late=True) == Wait()


@pytest.mark.parametrize("policy", OverlapPolicy)
def test_files_wait_whatever_the_policy(policy: OverlapPolicy):
    decision = decide(Overlap(policy=policy), unfinished=1, trigger=TriggerKind.FILE_CHANGED)
    assert decision == Wait()
