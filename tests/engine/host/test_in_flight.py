"""Who is submitted when, and who is to blame when the child dies: in every order of things."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import FinishReason, Priority, Usage
from engine.errors import EngineBusy
from engine.host.in_flight import MAX_DEATHS_WITNESSED, InFlight
from engine.host.job import Job
from engine.messages import Count, Done, Progress, Submit, Text
from tests.engine.support import request


def job(number: int, priority: Priority = Priority.NORMAL) -> Job:
    return Job(Submit(request=request(request_id="r", priority=priority)), number=number)


def submit(in_flight: InFlight) -> list[Job]:
    ready = in_flight.ready()
    for each in ready:
        each.submitted = True
    return ready


def text(each: Job, tokens: int = 1) -> Text:
    return Text(id=each.id, text="x", tokens=tokens)


def done(each: Job) -> Done:
    usage = Usage(prompt_tokens=1, completion_tokens=1, prefill_s=0.0, decode_s=0.0)
    return Done(id=each.id, finish_reason=FinishReason.STOP, usage=usage)


def filled(n: int) -> tuple[InFlight, list[Job]]:
    in_flight, jobs = InFlight(), [job(number) for number in range(1, n + 1)]
    for each in jobs:
        in_flight.add(each)
    assert submit(in_flight) == jobs
    return in_flight, jobs


def test_new_work_is_submitted_at_once_in_the_order_of_its_arrival() -> None:
    in_flight, jobs = filled(3)
    assert in_flight.ready() == []
    late = job(4, Priority.INTERACTIVE)
    in_flight.add(late)
    assert in_flight.ready() == [late]
    assert [each.work.request.id for each in jobs if isinstance(each.work, Submit)] == ["1", "2", "3"]


def test_more_than_the_limit_is_refused_also_while_those_who_left_are_not_confirmed() -> None:
    in_flight = InFlight(limit=2)
    first, second = job(1), job(2)
    in_flight.add(first)
    in_flight.add(second)
    submit(in_flight)
    assert in_flight.leave(first)
    with pytest.raises(EngineBusy, match="has 2 requests already; try again in a moment"):
        in_flight.add(job(3))
    assert in_flight.confirm_gone(first.id, is_last=True)
    in_flight.add(job(3))


def test_suspects_are_repeated_one_after_the_other_and_new_work_is_not_held_back() -> None:
    in_flight, (first, second) = filled(2)
    person = job(3, Priority.INTERACTIVE)
    in_flight.add(person)
    submit(in_flight)
    verdict = in_flight.after_death()
    assert (verdict.convicted, verdict.repeated) == ((), (first, second, person))
    assert submit(in_flight) == [person], "the most urgent first"
    fresh = job(4)
    in_flight.add(fresh)
    assert submit(in_flight) == [fresh]
    person.take(done(person))
    in_flight.end(person)
    assert submit(in_flight) == [first]
    assert submit(in_flight) == []
    first.take(text(first))
    assert submit(in_flight) == [second], "the first came farther than where the death was"


def test_a_suspect_is_cleared_only_beyond_the_place_of_the_death() -> None:
    in_flight, (first, second) = filled(2)
    for tokens in (1, 2):
        first.take(text(first, tokens))
    second.take(Progress(id=second.id, done_tokens=512, total_tokens=600))
    in_flight.after_death()
    assert submit(in_flight) == [first]
    first.take(Progress(id=first.id, done_tokens=9_000, total_tokens=9_000))
    first.take(text(first, 3))
    assert submit(in_flight) == [], "three tokens are where it stood at the death"
    first.take(text(first))
    assert submit(in_flight) == [second]
    second.take(Progress(id=second.id, done_tokens=512, total_tokens=600))
    assert second.on_trial
    second.take(Progress(id=second.id, done_tokens=600, total_tokens=600))
    assert not second.on_trial


def test_the_one_on_trial_is_convicted_and_the_others_are_repeated_again() -> None:
    in_flight, (first, second, third) = filled(3)
    in_flight.after_death()
    submit(in_flight)
    first.take(text(first))
    assert submit(in_flight) == [second]
    fresh = job(4)
    in_flight.add(fresh)
    submit(in_flight)
    verdict = in_flight.after_death()
    assert verdict.convicted == (second,)
    assert verdict.repeated == (first, fresh)
    assert {each.id for each in in_flight} == {first.id, third.id, fresh.id}


def test_whoever_is_alone_at_two_deaths_is_convicted_however_far_it_came() -> None:
    in_flight, (only,) = filled(1)
    in_flight.after_death()
    submit(in_flight)
    only.take(text(only, 99))
    assert in_flight.after_death().convicted == (only,)


def test_work_that_the_child_never_had_is_no_suspect() -> None:
    in_flight, _ = filled(1)
    waiting = job(2)
    in_flight.add(waiting)
    in_flight.after_death()
    assert waiting.deaths == 0


def test_an_abort_that_crosses_the_end_is_confirmed_twice_and_no_more() -> None:
    in_flight, (first, second) = filled(2)
    assert in_flight.leave(first)
    assert in_flight.confirm_gone(first.id, is_last=False), "text that was on its way"
    assert in_flight.confirm_gone(first.id, is_last=True)
    assert not in_flight.confirm_gone(first.id, is_last=False)
    assert in_flight.confirm_gone(first.id, is_last=True)
    assert not in_flight.confirm_gone(first.id, is_last=True)
    assert not in_flight.confirm_gone("77", is_last=True), "nobody ever asked that"
    in_flight.end(second)
    assert not in_flight.leave(second), "it has ended: there is nothing to tell the child"


def test_counting_is_no_work_of_the_model() -> None:
    in_flight = InFlight()
    in_flight.add(Job(Count(id="", texts=("a",)), number=1))
    assert (in_flight.n_heavy, len(in_flight)) == (0, 1)


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "text", "end", "leave", "die"]), st.integers(0, 30)), max_size=80
)


@given(steps=STEPS)
def test_in_any_order_each_death_ends_and_every_job_is_answered(steps: list[tuple[str, int]]) -> None:
    in_flight, numbers = InFlight(), itertools.count(1)
    live: list[Job] = []
    acts: dict[str, Callable[[Job], object]] = {
        "text": lambda each: each.take(text(each)),
        "end": in_flight.end,
        "leave": in_flight.leave,
    }
    for action, pick in steps:
        if action == "add":
            live.append(job(next(numbers), Priority(pick % 3)))
            in_flight.add(live[-1])
        elif action == "die":
            had_trial = any(each.on_trial for each in in_flight)
            verdict = in_flight.after_death()
            assert not had_trial or verdict.convicted, "a death during a trial always convicts"
            assert not set(verdict.convicted) & set(verdict.repeated)
        elif submitted := [each for each in in_flight if each.submitted]:
            acts[action](submitted[pick % len(submitted)])
        submit(in_flight)
        assert sum(each.on_trial for each in in_flight) <= 1
        assert all(each.deaths < MAX_DEATHS_WITNESSED for each in in_flight)
        assert not in_flight.ready(), "whoever may go has gone"
    for _ in range(len(live) + 1):  # from here on nothing dies: all come to their turn and end
        for each in in_flight:
            if each.submitted:
                in_flight.end(each)
        submit(in_flight)
    assert len(in_flight) == 0


@given(guilty=st.integers(0, 9), n=st.integers(1, 10), at=st.integers(1, 5))
def test_a_request_that_kills_each_time_costs_two_deaths_and_nobody_else(
    guilty: int, n: int, at: int
) -> None:
    guilty %= n
    in_flight, jobs = filled(n)
    bad, deaths, finished, convicted = jobs[guilty], 0, set[str](), list[Job]()
    said = dict.fromkeys((each.id for each in jobs), 0)
    while len(in_flight):
        submit(in_flight)
        for each in [each for each in in_flight if each.submitted]:
            each.take(text(each))
            said[each.id] += 1
            if each is bad and said[each.id] == at:
                deaths += 1
                convicted += in_flight.after_death().convicted
                said = dict.fromkeys(said, 0)
                break
            if said[each.id] == 7:
                in_flight.end(each)
                finished.add(each.id)
            submit(in_flight)
    assert convicted == [bad]
    assert deaths == 2
    assert finished == {each.id for each in jobs} - {bad.id}
