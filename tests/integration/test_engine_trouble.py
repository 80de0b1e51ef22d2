"""An engine that keeps dying costs its runs only time: the one under which it died comes back when that is forgotten."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import DIGEST, House, eventually

LONG = "\n\n".join(
    f"River number {index} was measured in spring. Its water rose by {index} centimetres. Ana must order a new gauge."
    for index in range(30)
)


def kill_engine_at_work(house: House, killed: list[int]) -> None:
    def at_work() -> int | None:
        engine = house.client.status().engine
        return engine.pid if engine.state == "busy" and engine.pid not in killed else None

    killed.append(eventually(at_work, what="the engine to be at work"))
    os.kill(killed[-1], signal.SIGKILL)


@pytest.mark.real
@pytest.mark.timeout(300)
def test_after_three_deaths_runs_wait_until_the_model_is_tried_again(house: House) -> None:
    killed: list[int] = []
    house.start()
    house.watch()
    eventually(lambda: house.client.status().engine.state == "ready", what="the engine's start")
    house.drop("first.txt", LONG)
    kill_engine_at_work(house, killed)
    kill_engine_at_work(house, killed)
    eventually(
        lambda: [run for run in house.client.runs() if run.status == "pending" and run.reason],
        what="the first run's failure, to be tried again much later",
    )
    house.drop("second.txt", LONG + "\n\nThe end of it.")
    kill_engine_at_work(house, killed)

    eventually(lambda: house.client.status().engine.state == "set_aside", what="the model to be set aside")
    eventually(lambda: house.client.agent(DIGEST).problem, what="the agent to say why its runs wait")
    second = next(run for run in house.client.runs() if run.file and run.file.endswith("second.txt"))
    assert second.status == "pending"
    assert any("set aside" in notice for notice in house.client.status().notices)

    house.client._send("POST", "/v1/engine/retry")
    eventually(lambda: house.client.run(second.id).status == "succeeded", timeout_s=200, what="the result")
    runs = {Path(run.file or "").name: run.status for run in house.client.runs()}
    assert runs == {"first.txt": "pending", "second.txt": "succeeded"}
    assert house.client.agent(DIGEST).problem is None
    assert not any("set aside" in notice for notice in house.client.status().notices)
