"""Reads how an agent's runs are to be treated: late, meeting each other, failing, and what they may use up."""

from __future__ import annotations

from typing import Any

from agents.definitions.durations import read_duration
from agents.definitions.limits import (
    DAY_S,
    LATE_RANGE_S,
    MAX_AT_ONCE,
    MAX_ATTEMPTS,
    MAX_COUNT,
    RETRY_RANGE_S,
    WORK_RANGE_S,
)
from agents.durations import duration_in_words
from agents.front_matter import Fields, refuse
from agents.policies import (
    Budget,
    Misfire,
    MisfirePolicy,
    Overlap,
    OverlapPolicy,
    PowerClass,
    Retry,
    RunPolicy,
    TimeLimits,
)

POLICY_KEYS = ("misfire", "overlap", "retry", "limits", "budget", "power")
COUNTED = (
    "tokens_per_run",
    "tool_calls_per_run",
    "runs_per_hour",
    "runs_per_day",
    "tokens_per_day",
)
TIMED = ("seconds_per_run", "seconds_per_day")
MEASURED = ("wh_per_day", "money_per_day")
_LEAST_MEASURE = 0.000_001


def read_policy(fields: Fields) -> RunPolicy:
    return RunPolicy(
        misfire=_misfire(fields) if "misfire" in fields else Misfire(),
        overlap=_overlap(fields) if "overlap" in fields else Overlap(),
        retry=_retry(fields) if "retry" in fields else Retry(),
        limits=_limits(fields) if "limits" in fields else TimeLimits(),
        budget=_budget(fields) if "budget" in fields else Budget(),
        power=PowerClass(fields.choice("power", [power.value for power in PowerClass]))
        if "power" in fields
        else PowerClass.ANY,
    )


def _misfire(fields: Fields) -> Misfire:
    inner = fields.mapping("misfire", keys=("policy", "at_most", "within"))
    default = Misfire()
    policy = MisfirePolicy(inner.choice("policy", [policy.value for policy in MisfirePolicy]))
    if "at_most" in inner and policy is not MisfirePolicy.RUN_ALL:
        refuse(inner.line_of("at_most"), f"'at_most' belongs to the policy '{MisfirePolicy.RUN_ALL}'.")
    return Misfire(
        policy=policy,
        at_most=inner.whole_number("at_most", low=1, high=MAX_AT_ONCE)
        if "at_most" in inner
        else default.at_most,
        within_s=read_duration(inner, "within", LATE_RANGE_S) if "within" in inner else default.within_s,
    )


def _overlap(fields: Fields) -> Overlap:
    inner = fields.mapping("overlap", keys=("policy", "at_most"))
    policy = OverlapPolicy(inner.choice("policy", [policy.value for policy in OverlapPolicy]))
    if policy is OverlapPolicy.PARALLEL:
        return Overlap(policy=policy, at_most=inner.whole_number("at_most", low=2, high=MAX_AT_ONCE))
    if "at_most" in inner:
        refuse(inner.line_of("at_most"), f"'at_most' belongs to the policy '{OverlapPolicy.PARALLEL}'.")
    return Overlap(policy=policy)


def _retry(fields: Fields) -> Retry:
    inner = fields.mapping("retry", keys=("attempts", "first"))
    default = Retry()
    return Retry(
        attempts=inner.whole_number("attempts", low=1, high=MAX_ATTEMPTS)
        if "attempts" in inner
        else default.attempts,
        first_s=read_duration(inner, "first", RETRY_RANGE_S) if "first" in inner else default.first_s,
    )


def _limits(fields: Fields) -> TimeLimits:
    inner = fields.mapping("limits", keys=("run", "step"))
    default = TimeLimits()
    run_s = read_duration(inner, "run", WORK_RANGE_S) if "run" in inner else default.run_s
    if "step" not in inner:
        return TimeLimits(run_s=run_s, step_s=min(default.step_s, run_s))
    step_s = read_duration(inner, "step", WORK_RANGE_S)
    if step_s > run_s:
        refuse(
            inner.line_of("step"),
            f"'step' is longer than the {duration_in_words(run_s)} of its run; shorten it, or raise 'run'.",
        )
    return TimeLimits(run_s=run_s, step_s=step_s)


def _budget(fields: Fields) -> Budget:
    inner = fields.mapping("budget", keys=(*COUNTED, *TIMED, *MEASURED))
    found: dict[str, Any] = {}
    found |= {key: inner.whole_number(key, low=1, high=MAX_COUNT) for key in COUNTED if key in inner}
    found |= {key: read_duration(inner, key, (1.0, DAY_S)) for key in TIMED if key in inner}
    found |= {key: inner.number(key, low=_LEAST_MEASURE, high=MAX_COUNT) for key in MEASURED if key in inner}
    return Budget(**found)
