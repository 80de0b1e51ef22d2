"""What an agent's file says about gates and policies, as sentences' parts for the user. Pure."""

from __future__ import annotations

from typing import assert_never

from agents.core import AgentDefinition
from agents.definitions.gate_fields import DAYS
from agents.durations import duration_in_words
from agents.policies import (
    Budget,
    Misfire,
    MisfirePolicy,
    Overlap,
    OverlapPolicy,
    PowerClass,
    Retry,
    TimeLimits,
)
from agents.printable import printable
from agents.triggers import (
    ChangedGate,
    CommandGate,
    Gate,
    HoursGate,
    MemoryGate,
    PowerGate,
    UrlGate,
)

_WEEK = tuple(range(7))


def gate_in_words(gate: Gate, *, local_zone: str | None = None) -> str:
    """When the gate lets a run through: "only if /home/me/todo.md has changed"."""
    match gate:
        case ChangedGate():
            paths = " or ".join(printable(path) for path in gate.paths)
            return f"only if {paths} has changed"
        case UrlGate():
            return f"only if {gate.url} has changed"
        case HoursGate():
            days = "" if gate.days == _WEEK else f" on {', '.join(DAYS[day] for day in gate.days)}"
            zone = "" if gate.zone == local_zone else f" ({gate.zone})"
            return f"only from {gate.start:%H:%M} to {gate.end:%H:%M}{days}{zone}"
        case PowerGate():
            return "only while the computer is plugged in"
        case MemoryGate():
            if gate.at_least == 1:
                return f"only if a remembered result holds “{gate.query}”"
            return f"only if at least {gate.at_least:,} remembered results hold “{gate.query}”"
        case CommandGate():
            return f"only if {' '.join(gate.argv)} succeeds within {duration_in_words(gate.timeout_s)}"
        case _:
            assert_never(gate)


def policies_in_words(definition: AgentDefinition) -> tuple[str, ...]:
    """How its runs are treated, where that is not what every agent's are."""
    policy = definition.policy
    said: list[str] = []
    if policy.misfire != Misfire():
        said.append(_misfire(policy.misfire))
    if policy.overlap != Overlap():
        said.append(_overlap(policy.overlap))
    if policy.retry != Retry():
        said.append(_retry(policy.retry))
    if policy.limits != TimeLimits():
        run, step = duration_in_words(policy.limits.run_s), duration_in_words(policy.limits.step_s)
        said.append(f"a run may work for {run}, a step for {step}")
    said += _budget(policy.budget)
    match policy.power:
        case PowerClass.AC_ONLY:
            said.append("works only while the computer is plugged in")
        case PowerClass.IDLE_ONLY:
            said.append("works only while nobody is at the computer")
        case PowerClass.ANY:
            pass
        case _:
            assert_never(policy.power)
    return tuple(said)


def _misfire(misfire: Misfire) -> str:
    within = f", if it is less than {duration_in_words(misfire.within_s)} late" if misfire.within_s else ""
    match misfire.policy:
        case MisfirePolicy.SKIP:
            return "a time that was missed is not caught up on"
        case MisfirePolicy.RUN_ONCE:
            return f"of the times that were missed the newest one is caught up on{within}"
        case MisfirePolicy.RUN_ALL:
            return f"of the times that were missed the newest {misfire.at_most} are caught up on{within}"
        case _:
            assert_never(misfire.policy)


def _overlap(overlap: Overlap) -> str:
    match overlap.policy:
        case OverlapPolicy.AUTO:
            return "skips a time of its schedule at which it is still at work; what happened waits"
        case OverlapPolicy.SKIP:
            return "skips a time at which it is still at work"
        case OverlapPolicy.QUEUE:
            return "a time at which it is still at work waits"
        case OverlapPolicy.REPLACE:
            return "a new run takes the place of one that is still at work"
        case OverlapPolicy.PARALLEL:
            return f"up to {overlap.at_most} runs side by side"
        case _:
            assert_never(overlap.policy)


def _retry(retry: Retry) -> str:
    if retry.attempts == 1:
        return "a run that fails is not tried again"
    return f"a run is tried {retry.attempts} times at most, again after {duration_in_words(retry.first_s)}"


def _budget(budget: Budget) -> list[str]:
    limits = (
        (budget.tokens_per_run, "{:,} tokens a run"),
        (budget.tool_calls_per_run, "{:,} tool calls a run"),
        (budget.runs_per_hour, "{:,} runs an hour"),
        (budget.runs_per_day, "{:,} runs a day"),
        (budget.tokens_per_day, "{:,} tokens a day"),
        (budget.wh_per_day, "{:g} Wh a day"),
        (budget.money_per_day, "{:g} USD a day"),
    )
    said = [f"at most {words.format(limit)}" for limit, words in limits if limit is not None]
    for seconds, span in ((budget.seconds_per_run, "run"), (budget.seconds_per_day, "day")):
        if seconds is not None:
            said.append(f"at most {duration_in_words(seconds)} of the model a {span}")
    return said
