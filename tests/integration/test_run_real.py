"""Runs of a real runtime with the built-in model: texts, files, chains, the switch, budgets and replays."""

from __future__ import annotations

import time

import pytest

from agents import contract
from tests.integration.conftest import House, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

STORY = "Write a long story about a river, a mill and the people of a village. Tell of every day of the week in detail."


def agent(name: str, instructions: str, *lines: str) -> contract.AgentAdd:
    head = "\n".join(["---", f"name: {name}", "description: Writes.", "kind: write", *lines, "---"])
    return contract.AgentAdd(source=f"{head}\n{instructions}\n", accept=True)


def writer(house: House, *more: str) -> contract.AgentAdd:
    out = house.inbox.parent / "out"
    out.mkdir(exist_ok=True)
    return agent(
        "Greeter",
        "Write a short friendly greeting.",
        "triggers:\n  - on: interval\n    every: 12 hours",
        f"capabilities:\n  write: [{out}]",
        f"output:\n  folder: {out}",
        *more,
    )


def ended(house: House, run_id: int) -> contract.RunDetail:
    def look() -> contract.RunDetail | None:
        run = house.client.run(run_id)
        return run if run.status in ("succeeded", "failed", "cancelled", "unverified") else None

    return eventually(look, timeout_s=120, what=f"the end of run {run_id}")


def run_now(house: House, name: str) -> int:
    [run] = house.client.run_agent(name, contract.RunNow()).runs
    return run.id


def test_a_text_is_a_result_and_a_file_and_can_be_replayed(house: House) -> None:
    house.start()
    house.client.add_agent(writer(house))
    first = ended(house, run_now(house, "Greeter"))
    assert first.status == "succeeded", first.reason
    assert first.result is not None
    assert first.result.summary
    [path] = (house.inbox.parent / "out").iterdir()
    assert path.read_text().startswith(f"# {first.result.title}\n\n")
    assert first.result.summary in path.read_text()

    path.unlink()
    replay = ended(house, house.client.replay_run(first.id, contract.Replay()).id)
    assert replay.status == "succeeded", replay.reason
    assert list((house.inbox.parent / "out").iterdir()) == []


def test_an_agent_starts_on_the_result_of_another_one(house: House) -> None:
    house.start()
    house.client.add_agent(writer(house))
    house.client.add_agent(
        agent(
            "Reader",
            "Write one sentence about what you were given.",
            "triggers:\n  - on: result\n    agent: Greeter",
        )
    )
    run_now(house, "Greeter")

    def follower() -> int | None:
        return next((run.id for run in house.client.runs(limit=10) if run.agent == "Reader"), None)

    run = ended(house, eventually(follower, what="the follower's run"))
    assert (run.status, run.trigger) == ("succeeded", "result")


def test_one_switch_stops_a_run_in_the_middle_of_its_text_and_chat_goes_on(house: House) -> None:
    house.start()
    house.client.add_agent(agent("Teller", STORY, "triggers:\n  - on: interval\n    every: 12 hours"))
    run_id = run_now(house, "Teller")
    eventually(
        lambda: any(step.kind == "model" for step in house.client.run(run_id).steps), what="the model's step"
    )

    began_at = time.monotonic()
    house.client.switch_agents(stopped=True)
    took_s = time.monotonic() - began_at
    run = house.client.run(run_id)
    if run.status == "succeeded":
        pytest.skip("the text was done before the switch was found")
    assert run.status == "pending"
    assert took_s < 5.0  # a second on a computer that does nothing else
    answer = list(house.client.chat(contract.ChatRequest(text="Say hello.", save=False, max_tokens=16)))
    assert any(getattr(event, "type", "") == "done" for event in answer), answer
    assert house.client.run(run_id).status == "pending"
    house.client.switch_agents(stopped=False)
    assert ended(house, run_id).status == "succeeded"


def test_a_budget_that_is_too_small_is_told_before_a_token_is_spent(house: House) -> None:
    house.start()
    house.client.add_agent(writer(house, "budget:\n  tokens_per_run: 20"))
    run = ended(house, run_now(house, "Greeter"))
    assert run.status == "failed"
    assert run.reason is not None
    assert "over its limit of 20 tokens" in run.reason
    assert run.tokens == 0
    assert list((house.inbox.parent / "out").iterdir()) == []
