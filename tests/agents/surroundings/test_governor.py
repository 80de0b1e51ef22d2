"""The governor's table: what the surroundings mean for background work, in both directions of each threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policies import PowerClass
from agents.surroundings.core import Surroundings
from agents.surroundings.governor import (
    GO,
    MIN_STAND_S,
    Action,
    Cause,
    Standing,
    Verdict,
    decide,
    stand,
)

RUN, SLOW, PAUSE = Action.RUN, Action.THROTTLE, Action.PAUSE
ANY, AC, IDLE = PowerClass.ANY, PowerClass.AC_ONLY, PowerClass.IDLE_ONLY
N_CPUS = 8

TABLE: list[tuple[dict[str, Any], PowerClass, Action, str | None, int | None]] = [
    # nothing is known, or all is well
    ({}, ANY, RUN, None, None),
    ({}, AC, RUN, None, None),
    ({"on_ac": True, "battery_percent": 5.0}, ANY, RUN, None, None),
    ({"on_ac": True, "battery_percent": 5.0}, AC, RUN, None, None),
    ({"on_ac": None, "battery_percent": 5.0}, ANY, RUN, None, None),
    ({"metered": True}, ANY, RUN, None, None),
    ({"idle_s": 0.0, "saver": False, "full_screen": False, "locked": False}, ANY, RUN, None, None),
    # battery
    ({"on_ac": False, "battery_percent": 80.0}, ANY, RUN, None, None),
    ({"on_ac": False, "battery_percent": 50.0}, ANY, RUN, None, None),
    ({"on_ac": False, "battery_percent": 49.9}, ANY, SLOW, "Slower: on battery below 50 %.", 4),
    ({"on_ac": False, "battery_percent": 20.0}, ANY, SLOW, "Slower: on battery below 50 %.", 4),
    ({"on_ac": False, "battery_percent": 19.9}, ANY, PAUSE, "Paused: on battery below 20 %.", None),
    ({"on_ac": False, "battery_percent": 0.0}, ANY, PAUSE, "Paused: on battery below 20 %.", None),
    ({"on_ac": False}, ANY, SLOW, "Slower: on battery.", 4),
    # plugged in only
    (
        {"on_ac": False, "battery_percent": 99.0},
        AC,
        PAUSE,
        "Paused: on battery; it works only while plugged in.",
        None,
    ),
    ({"on_ac": False}, AC, PAUSE, "Paused: on battery; it works only while plugged in.", None),
    ({"on_ac": False, "battery_percent": 10.0}, AC, PAUSE, "Paused: on battery below 20 %.", None),
    # battery saver
    ({"saver": True}, ANY, PAUSE, "Paused: the battery saver is on.", None),
    ({"saver": True, "on_ac": True}, AC, PAUSE, "Paused: the battery saver is on.", None),
    (
        {"saver": True, "on_ac": False, "battery_percent": 5.0},
        ANY,
        PAUSE,
        "Paused: on battery below 20 %.",
        None,
    ),
    # while nobody is there only
    (
        {"idle_s": 0.0},
        IDLE,
        PAUSE,
        "Paused: you are at the computer; it works only while you are away.",
        None,
    ),
    (
        {"idle_s": 299.9},
        IDLE,
        PAUSE,
        "Paused: you are at the computer; it works only while you are away.",
        None,
    ),
    ({"idle_s": 300.0}, IDLE, RUN, None, None),
    ({"idle_s": 0.0, "locked": True}, IDLE, RUN, None, None),
    ({"locked": True}, IDLE, RUN, None, None),
    (
        {},
        IDLE,
        PAUSE,
        "Paused: it works only while you are away, and nothing here tells whether you are.",
        None,
    ),
    (
        {"idle_s": 900.0, "on_ac": False, "battery_percent": 30.0},
        IDLE,
        SLOW,
        "Slower: on battery below 50 %.",
        4,
    ),
    ({"idle_s": 900.0, "saver": True}, IDLE, PAUSE, "Paused: the battery saver is on.", None),
    # full screen
    ({"full_screen": True}, ANY, PAUSE, "Paused: a program fills the screen.", None),
    ({"full_screen": True, "idle_s": 900.0}, IDLE, PAUSE, "Paused: a program fills the screen.", None),
    # heat
    ({"temperature_c": 89.9}, ANY, RUN, None, None),
    ({"temperature_c": 90.0}, ANY, SLOW, "Slower: the processor is hot.", 4),
    ({"temperature_c": 96.9}, ANY, SLOW, "Slower: the processor is hot.", 4),
    ({"temperature_c": 97.0}, ANY, PAUSE, "Paused: the processor is too hot.", 4),
    ({"temperature_c": 97.0, "full_screen": True}, ANY, PAUSE, "Paused: the processor is too hot.", 4),
    # others' load
    ({"other_load": 0.84}, ANY, RUN, None, None),
    ({"other_load": 0.85}, ANY, SLOW, "Slower: other programs need the processor.", 4),
    ({"other_load": 1.0, "on_ac": True}, AC, SLOW, "Slower: other programs need the processor.", 4),
    # a conversation: slower, but the engine keeps its threads for the answer, unless the machine is hot
    ({"talking": True}, ANY, SLOW, "Slower: you are talking with the model.", None),
    ({"talking": True, "other_load": 0.9}, ANY, SLOW, "Slower: other programs need the processor.", None),
    ({"talking": True, "temperature_c": 91.0}, ANY, SLOW, "Slower: the processor is hot.", 4),
    (
        {"talking": True, "on_ac": False, "battery_percent": 40.0},
        ANY,
        SLOW,
        "Slower: on battery below 50 %.",
        None,
    ),
    ({"talking": True, "full_screen": True}, ANY, PAUSE, "Paused: a program fills the screen.", None),
]


@pytest.mark.parametrize(("seen", "power", "action", "reason", "max_threads"), TABLE)
def test_what_is_seen_decides(
    seen: dict[str, Any], power: PowerClass, action: Action, reason: str | None, max_threads: int | None
) -> None:
    verdict = decide(Surroundings(**seen), power, N_CPUS)
    assert (verdict.action, verdict.reason, verdict.max_threads) == (action, reason, max_threads)


BY_HAND: list[tuple[dict[str, Any], PowerClass, Action, str | None]] = [
    ({"saver": True}, ANY, SLOW, "Slower: the battery saver is on."),
    ({"full_screen": True}, ANY, RUN, None),
    ({"on_ac": False, "battery_percent": 90.0}, AC, RUN, None),
    ({"idle_s": 0.0}, IDLE, RUN, None),
    ({}, IDLE, RUN, None),
    ({"on_ac": False, "battery_percent": 10.0}, ANY, PAUSE, "Paused: on battery below 20 %."),
    ({"temperature_c": 99.0}, ANY, PAUSE, "Paused: the processor is too hot."),
]


@pytest.mark.parametrize(("seen", "power", "action", "reason"), BY_HAND)
def test_a_run_by_hand_waits_only_for_heat_and_a_low_battery(
    seen: dict[str, Any], power: PowerClass, action: Action, reason: str | None
) -> None:
    verdict = decide(Surroundings(**seen), power, N_CPUS, by_hand=True)
    assert (verdict.action, verdict.reason) == (action, reason)


WAYS_BACK: list[tuple[dict[str, Any], dict[str, Any], Action]] = [
    # (what began it, what is seen now, what holds now)
    ({"on_ac": False, "battery_percent": 19.0}, {"on_ac": False, "battery_percent": 24.9}, PAUSE),
    ({"on_ac": False, "battery_percent": 19.0}, {"on_ac": False, "battery_percent": 25.0}, SLOW),
    ({"on_ac": False, "battery_percent": 19.0}, {"on_ac": True, "battery_percent": 19.0}, RUN),
    ({"on_ac": False, "battery_percent": 49.0}, {"on_ac": False, "battery_percent": 54.9}, SLOW),
    ({"on_ac": False, "battery_percent": 49.0}, {"on_ac": False, "battery_percent": 55.0}, RUN),
    ({"temperature_c": 97.0}, {"temperature_c": 92.0}, PAUSE),
    ({"temperature_c": 97.0}, {"temperature_c": 91.9}, SLOW),
    ({"temperature_c": 90.0}, {"temperature_c": 85.0}, SLOW),
    ({"temperature_c": 90.0}, {"temperature_c": 84.9}, RUN),
    ({"temperature_c": 97.0}, {}, RUN),
    ({"other_load": 0.9}, {"other_load": 0.6}, SLOW),
    ({"other_load": 0.9}, {"other_load": 0.59}, RUN),
    ({"saver": True}, {"saver": False}, RUN),
]


@pytest.mark.parametrize(("before", "now", "action"), WAYS_BACK)
def test_a_cause_ends_later_than_it_began(
    before: dict[str, Any], now: dict[str, Any], action: Action
) -> None:
    previous = decide(Surroundings(**before), ANY, N_CPUS)
    assert decide(Surroundings(**now), ANY, N_CPUS, previous).action is action


@pytest.mark.parametrize(("n_cpus", "half"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_half_the_processors_is_never_none(n_cpus: int, half: int) -> None:
    assert decide(Surroundings(on_ac=False), ANY, n_cpus).max_threads == half


SURROUNDINGS = st.builds(
    Surroundings,
    on_ac=st.none() | st.booleans(),
    battery_percent=st.none() | st.floats(0, 100),
    saver=st.none() | st.booleans(),
    idle_s=st.none() | st.floats(0, 1e6),
    full_screen=st.none() | st.booleans(),
    locked=st.none() | st.booleans(),
    other_load=st.none() | st.floats(0, 1),
    temperature_c=st.none() | st.floats(0, 120),
    talking=st.none() | st.booleans(),
)


@given(SURROUNDINGS, SURROUNDINGS, st.sampled_from(PowerClass), st.booleans())
def test_every_verdict_has_its_reason_and_is_stable(
    before: Surroundings, now: Surroundings, power: PowerClass, by_hand: bool
) -> None:
    previous = decide(before, power, N_CPUS, by_hand=by_hand)
    verdict = decide(now, power, N_CPUS, previous, by_hand=by_hand)
    assert (verdict.reason is None) is (verdict.action is RUN)
    assert decide(now, power, N_CPUS, verdict, by_hand=by_hand) == verdict
    starts_with = {RUN: "", SLOW: "Slower: ", PAUSE: "Paused: "}
    assert (verdict.reason or "").startswith(starts_with[verdict.action])


@given(SURROUNDINGS, st.sampled_from(PowerClass))
def test_no_class_is_freer_than_any_and_no_run_is_held_more_for_being_asked_for(
    seen: Surroundings, power: PowerClass
) -> None:
    ordinary = decide(seen, power, N_CPUS)
    assert ordinary.action.strictness >= decide(seen, ANY, N_CPUS).action.strictness
    assert decide(seen, power, N_CPUS, by_hand=True).action.strictness <= ordinary.action.strictness


@given(SURROUNDINGS, st.floats(0, 100), st.floats(0, 100))
def test_a_fuller_battery_is_never_worse(seen: Surroundings, one: float, other: float) -> None:
    emptier, fuller = sorted((one, other))
    at_emptier = decide(replace(seen, battery_percent=emptier), ANY, N_CPUS)
    at_fuller = decide(replace(seen, battery_percent=fuller), ANY, N_CPUS)
    assert at_fuller.action.strictness <= at_emptier.action.strictness


SLOWED = Verdict(action=SLOW, reason="Slower: on battery.", causes=frozenset({Cause.SOME_BATTERY}))
HELD = Verdict(action=PAUSE, reason="Paused: the battery saver is on.", causes=frozenset({Cause.SAVER}))


def test_a_stricter_verdict_stands_at_once() -> None:
    assert stand(Standing(verdict=SLOWED, since_s=100.0), HELD, 100.5) == Standing(
        verdict=HELD, since_s=100.5
    )


def test_a_milder_verdict_waits_until_the_other_has_stood_for_its_time() -> None:
    standing = Standing(verdict=HELD, since_s=100.0)
    assert stand(standing, GO, 100.0 + MIN_STAND_S - 0.1) == standing
    assert stand(standing, GO, 100.0 + MIN_STAND_S) == Standing(verdict=GO, since_s=100.0 + MIN_STAND_S)


def test_another_reason_for_the_same_is_told_at_once_and_does_not_begin_anew() -> None:
    other = replace(SLOWED, reason="Slower: the processor is hot.")
    assert stand(Standing(verdict=SLOWED, since_s=100.0), other, 110.0) == Standing(
        verdict=other, since_s=100.0
    )


@given(st.lists(st.tuples(st.floats(0.1, 30), st.sampled_from([GO, SLOWED, HELD])), max_size=40))
def test_no_milder_verdict_follows_within_its_time(looks: list[tuple[float, Verdict]]) -> None:
    now_s, standing = 0.0, None
    for pause_s, wanted in looks:
        now_s += pause_s
        before, standing = standing, stand(standing, wanted, now_s)
        if before is not None and standing.verdict.action.strictness < before.verdict.action.strictness:
            assert now_s - before.since_s >= MIN_STAND_S
