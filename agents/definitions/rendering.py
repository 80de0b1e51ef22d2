"""Writes a definition as the agent file that reads back as exactly it; what stands at its default is left out."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, assert_never

import yaml

from agents.core import AgentDefinition
from agents.definitions.durations import render_duration
from agents.definitions.gate_fields import DAYS
from agents.definitions.policy_fields import TIMED
from agents.definitions.zones import render_moment
from agents.front_matter import FENCE
from agents.policies import (
    Misfire,
    MisfirePolicy,
    Overlap,
    OverlapPolicy,
    PowerClass,
    Retry,
    RunPolicy,
    TimeLimits,
)
from agents.triggers import (
    ChangedGate,
    CommandGate,
    CronTrigger,
    FileTrigger,
    Gate,
    HoursGate,
    IdleTrigger,
    IntervalTrigger,
    MemoryGate,
    OnceTrigger,
    PowerGate,
    ResultTrigger,
    StartTrigger,
    Trigger,
    UrlGate,
    WakeTrigger,
    WebhookTrigger,
)


def render_definition(definition: AgentDefinition) -> str:
    """The agent file that parse_definition reads as exactly this definition."""
    front: dict[str, Any] = {
        "name": definition.name,
        "description": definition.description,
        "kind": definition.kind.value,
        "triggers": [{"on": trigger.on.value, **_trigger(trigger)} for trigger in definition.triggers],
    }
    if definition.gates:
        front["gates"] = [{"check": gate.check.value, **_gate(gate)} for gate in definition.gates]
    front |= {
        "capabilities": _capabilities(definition),
        **({"output": {"folder": str(definition.write_folder)}} if definition.write_folder else {}),
        **_policy(definition.policy),
        "model": definition.model,
        "notify": definition.notify.value,
    }
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=float("inf"))
    # PyYAML quotes the key because YAML 1.1 reads a bare one as true; parse_definition reads it as people write it.
    text = re.sub(r"^- 'on':", "- on:", text, flags=re.MULTILINE)
    body = f"\n{definition.instructions}\n" if definition.instructions else ""
    return f"{FENCE}\n{text}{FENCE}\n{body}"


def _trigger(trigger: Trigger) -> dict[str, Any]:
    match trigger:
        case CronTrigger():
            return {"schedule": trigger.schedule, "zone": trigger.zone}
        case IntervalTrigger():
            return {"every": render_duration(trigger.every_s)}
        case OnceTrigger():
            return {"at": render_moment(trigger.at, trigger.zone), "zone": trigger.zone}
        case FileTrigger():
            return {
                "folders": [str(folder) for folder in trigger.folders],
                "patterns": list(trigger.patterns),
                "recursive": trigger.recursive,
                "settle_s": trigger.settle_s,
                "storm_files": trigger.storm_files,
            }
        case IdleTrigger():
            return {"after": render_duration(trigger.after_s)}
        case WebhookTrigger():
            return {"hook": trigger.hook}
        case ResultTrigger():
            return {"agent": trigger.agent, "when": trigger.when.value}
        case StartTrigger() | WakeTrigger():
            return {}
        case _:
            assert_never(trigger)


def _gate(gate: Gate) -> dict[str, Any]:
    match gate:
        case ChangedGate():
            return {"paths": [str(path) for path in gate.paths]}
        case UrlGate():
            return {"url": gate.url}
        case HoursGate():
            return {
                "from": f"{gate.start:%H:%M}",
                "to": f"{gate.end:%H:%M}",
                "days": [DAYS[day] for day in gate.days],
                "zone": gate.zone,
            }
        case MemoryGate():
            return {"query": gate.query, "at_least": gate.at_least}
        case CommandGate():
            return {"run": list(gate.argv), "timeout": render_duration(gate.timeout_s)}
        case PowerGate():
            return {}
        case _:
            assert_never(gate)


def _capabilities(definition: AgentDefinition) -> dict[str, Any]:
    asked: dict[str, Any] = {"read": [str(folder) for folder in definition.read_folders]}
    if definition.write_folder is not None:
        asked["write"] = [str(definition.write_folder)]
    if definition.hosts:
        asked["hosts"] = list(definition.hosts)
    if definition.commands:
        asked["commands"] = [list(command) for command in definition.commands]
    return asked


def _policy(policy: RunPolicy) -> dict[str, Any]:
    front: dict[str, Any] = {}
    if policy.misfire != Misfire():
        front["misfire"] = {
            "policy": policy.misfire.policy.value,
            **({"at_most": policy.misfire.at_most} if policy.misfire.policy is MisfirePolicy.RUN_ALL else {}),
            **({"within": render_duration(policy.misfire.within_s)} if policy.misfire.within_s else {}),
        }
    if policy.overlap != Overlap():
        parallel = policy.overlap.policy is OverlapPolicy.PARALLEL
        front["overlap"] = {
            "policy": policy.overlap.policy.value,
            **({"at_most": policy.overlap.at_most} if parallel else {}),
        }
    if policy.retry != Retry():
        front["retry"] = {
            "attempts": policy.retry.attempts,
            "first": render_duration(policy.retry.first_s),
        }
    if policy.limits != TimeLimits():
        front["limits"] = {
            "run": render_duration(policy.limits.run_s),
            "step": render_duration(policy.limits.step_s),
        }
    budget = {key: value for key, value in asdict(policy.budget).items() if value is not None}
    if budget:
        front["budget"] = {
            key: render_duration(value) if key in TIMED else value for key, value in budget.items()
        }
    if policy.power is not PowerClass.ANY:
        front["power"] = policy.power.value
    return front
