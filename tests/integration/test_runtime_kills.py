"""kill -9 at random moments: every file is handled exactly once, and nothing stays "running"."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import House, eventually
from tests.processes import has_ended

KILLS = 20
SOAK_KILLS = 200
LONGEST_RUN_S = 4.0  # from the file's arrival to its result, settle time included; kills fall anywhere in it

DOCUMENT = """# Note {index}

The team of river {index} met on Monday. The gauge was repaired for {index}00 euros. Ana must order a spare part by
12 May. Water levels stayed normal during the whole week.
"""


def kill_again_and_again(house: House, kills: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    house.start()
    house.watch()
    for index in range(kills):
        house.drop(f"note-{index}.md", DOCUMENT.format(index=index))
        time.sleep(moments.uniform(0, LONGEST_RUN_S))
        house.kill()
        house.start()

    runs = house.ended(kills, timeout_s=180)
    assert Counter(Path(run.file or "").name for run in runs) == Counter(
        f"note-{index}.md" for index in range(kills)
    )
    assert {run.status for run in runs} == {"succeeded"}
    status = house.client.status()
    assert (status.runs_running, status.runs_pending) == (0, 0)
    for run in runs:
        detail = house.client.run(run.id)
        assert detail.result is not None
        assert detail.result.title == Path(run.file or "").stem.replace("note-", "Note ")
        assert all(step.status == "succeeded" for step in detail.steps)


@pytest.mark.real
@pytest.mark.timeout(400)
def test_twenty_kills_at_random_moments_leave_each_file_handled_exactly_once(house: House) -> None:
    kill_again_and_again(house, KILLS)


@pytest.mark.real
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills_leave_each_file_handled_exactly_once(house: House) -> None:
    kill_again_and_again(house, SOAK_KILLS)


@pytest.mark.real
def test_a_killed_runtime_takes_its_engine_along(house: House) -> None:
    house.start()
    pid = eventually(lambda: house.client.status().engine.pid, what="the engine's start")
    house.kill()
    eventually(lambda: has_ended(pid), timeout_s=5, what="the engine's end")


@pytest.mark.real
def test_what_arrived_while_nothing_ran_is_handled_at_the_next_start(house: House) -> None:
    house.start()
    house.watch()
    assert house.stop() == 0
    house.drop("late.txt", DOCUMENT.format(index=7))
    house.start()
    [run] = house.ended()
    assert (run.status, run.attempt) == ("succeeded", 1)
