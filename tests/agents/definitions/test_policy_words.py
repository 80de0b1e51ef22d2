"""How an agent's policies are told where they are not what every agent's are."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.definitions import gate_in_words, parse_definition, policies_in_words
from agents.triggers import MemoryGate

AGENT = "---\nname: A\ndescription: x\nkind: write\ntriggers:\n  - on: start\n{policy}\n---\nGo.\n"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("misfire: {policy: skip}", ["a time that was missed is not caught up on"]),
        (
            "misfire: {policy: run_all, at_most: 3}",
            ["of the times that were missed the newest 3 are caught up on"],
        ),
        ("overlap: {policy: skip}", ["skips a time at which it is still at work"]),
        ("overlap: {policy: replace}", ["a new run takes the place of one that is still at work"]),
        ("overlap: {policy: parallel, at_most: 4}", ["up to 4 runs side by side"]),
        ("overlap: {policy: queue}", ["a time at which it is still at work waits"]),
        ("overlap: {policy: auto}", []),
        ("retry: {attempts: 1}", ["a run that fails is not tried again"]),
        (
            "retry: {attempts: 5, first: 1 minute}",
            ["a run is tried 5 times at most, again after 1 minute"],
        ),
        ("limits: {run: 2 hours}", ["a run may work for 2 hours, a step for 15 minutes"]),
        (
            "budget: {tokens_per_day: 20000, seconds_per_run: 90, money_per_day: 0.5}",
            ["at most 20,000 tokens a day", "at most 0.5 USD a day", "at most 90 seconds of the model a run"],
        ),
        ("power: ac_only", ["works only while the computer is plugged in"]),
        ("power: idle_only", ["works only while nobody is at the computer"]),
        ("power: any", []),
    ],
)
def test_a_policy_is_one_plain_phrase(policy: str, words: list[str]) -> None:
    definition = parse_definition(AGENT.format(policy=policy), home=Path("/nowhere"))
    assert list(policies_in_words(definition)) == words


def test_one_remembered_result_is_not_counted() -> None:
    assert gate_in_words(MemoryGate(query="invoice")) == "only if a remembered result holds “invoice”"
    said = gate_in_words(MemoryGate(query="invoice", at_least=3))
    assert said == "only if at least 3 remembered results hold “invoice”"
