"""kill -9 at any moment of the store's work: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agents.clock import SystemClock
from agents.core import OccurrenceStatus, Owner, RunStatus
from agents.credentials import KeyKind, ResolvedKey
from agents.storage import Store

KEY = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(range(32)))
START_TIMEOUT_S = 30

# Says on stdout what the store has acknowledged, one line each, unbuffered: a line that arrived is a promise.
WRITER = """
import asyncio, itertools, os, sys
from datetime import UTC, datetime
from pathlib import Path

from agents.clock import SystemClock
from agents.core import *
from agents.credentials import KeyKind, ResolvedKey
from agents.storage import Store

path, round_number = Path(sys.argv[1]), sys.argv[2]


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


async def digest(store, run):
    step = await store.runs.begin_step(run.id, key="read", kind=StepKind.READ, title="Read")
    if step.status is not StepStatus.SUCCEEDED:
        step = await store.runs.finish_step(step.id, output="x" * 3_000, detail=None, usage=StepUsage())
        say("step", run.id)
    result = NewResult(title=f"of {run.id}", summary="s" * 500, action_items=(), category="c")
    await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=result)
    say("finished", run.id)


async def main():
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(range(32)))
    store = await Store.open(path, key, clock=SystemClock())
    me = Owner(pid=os.getpid(), started_at=round_number, boot_id="this boot")
    await store.schedule.recover(me)
    await store.runs.recover(round_number)
    say("ready")
    found = await store.agents.list()
    if not found:
        definition = AgentDefinition(
            name="A", description="", kind=AgentKind.DIGEST, triggers=(), read_folders=()
        )
        found = [await store.agents.add(definition, "source")]
    for number in itertools.count():
        new = NewOccurrence(
            agent_id=found[0].id, trigger=TriggerKind.FILE_CHANGED, key=f"{round_number}/{number}",
            due_at=datetime.now(UTC), path=Path(f"/in/{number}"),
        )
        if number % 2:
            run = await store.runs.record(new)
        else:
            await store.schedule.plan([new])
            say("planned", new.key)
            # Whatever was due first: what an earlier round has left is claimed again with a greater fence.
            [due] = await store.schedule.due(datetime.now(UTC), limit=1)
            [claimed] = await store.schedule.claim([due.id], owner=me, plan=())
            say("claimed", claimed.key, claimed.fence)
            run, new = await store.schedule.admit(claimed.id, fence=claimed.fence, gates=()), claimed
        say("recorded", run.id, new.key)
        following = await store.runs.next_pending()
        await digest(store, await store.runs.begin(following.id, owner=round_number, model="m"))


asyncio.run(main())
"""


@dataclass
class Promises:
    """What the writers of all rounds have said."""

    planned: set[str] = field(default_factory=set)
    fences: dict[str, int] = field(default_factory=dict)  # key -> number of its last claim
    recorded: dict[int, str] = field(default_factory=dict)  # run id -> key
    steps: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)

    def add(self, line: str) -> None:
        words = line.split()
        if not line.endswith("\n") or words == ["ready"]:
            return
        if words[0] == "planned":
            self.planned.add(words[1])
        elif words[0] == "claimed":
            assert int(words[2]) > self.fences.get(words[1], 0), "a claim did not grow"
            self.fences[words[1]] = int(words[2])
        elif words[0] == "recorded":
            assert words[2] not in self.recorded.values(), "a due time became two runs"
            self.recorded[int(words[1])] = words[2]
        elif words[0] == "step":
            self.steps.add(int(words[1]))
        else:
            assert words[0] == "finished"
            assert int(words[1]) not in self.finished, "a run was finished twice"
            self.finished.add(int(words[1]))


def write_and_kill(path: Path, round_number: int, after_s: float, promises: Promises) -> bool:
    """Lets a writer work for a moment and kills it; returns whether it came as far as to open the database."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(round_number)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    try:
        first = writer.stdout.readline()
        if first:
            time.sleep(after_s)
        writer.kill()
        for line in writer.stdout:
            promises.add(line)
        assert writer.wait(10) == -9
        return first == "ready\n"
    finally:
        writer.kill()
        writer.wait(10)
        writer.stdout.close()


async def check(path: Path, promises: Promises) -> int:
    """Opens what is left, as the next start would, and compares it with what was promised; returns the number of runs."""
    store = await Store.open(path, KEY, clock=SystemClock())
    try:
        await store.schedule.recover(Owner(pid=0, started_at="now", boot_id="the check"))
        await store.runs.recover("the check")
        dues = {due.key: due for due in await store.schedule.list(limit=1_000_000)}
        assert promises.planned <= dues.keys()
        for key, fence in promises.fences.items():
            assert dues[key].fence >= fence
        assert all(dues[key].run_id == run_id for run_id, key in promises.recorded.items())
        assert not [due for due in dues.values() if due.status is OccurrenceStatus.CLAIMED]
        runs = {run.id: run for run in await store.runs.list(limit=1_000_000)}
        results = [result.run_id for result in await store.runs.results(limit=1_000_000)]
        counts = await store.runs.counts()
        assert promises.recorded.keys() <= runs.keys()
        for run_id in promises.finished:
            assert runs[run_id].status is RunStatus.SUCCEEDED
        assert counts[RunStatus.RUNNING] == counts[RunStatus.FAILED] == counts[RunStatus.CANCELLED] == 0
        # A result is there exactly when its run succeeded, and once.
        assert sorted(results) == sorted(run.id for run in runs.values() if run.status is RunStatus.SUCCEEDED)
        for run_id in promises.steps:
            [step] = await store.runs.steps(run_id)
            assert step.output == "x" * 3_000
        paths_and_due = [(run.path, run.due_at) for run in runs.values()]
        assert len(set(paths_and_due)) == len(paths_and_due)
        return len(runs)
    finally:
        await store.close()


def kill_rounds(path: Path, rounds: int, seed: int) -> Promises:
    moments = random.Random(seed)
    promises = Promises()
    for number in range(rounds):
        assert write_and_kill(path, number, moments.uniform(0, 0.15), promises)
        asyncio.run(check(path, promises))
    return promises


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    promises = kill_rounds(tmp_path / "hearth.db", rounds=6, seed=1)

    assert len(promises.finished) > 6


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_nothing_acknowledged_is_lost_in_five_hundred_kills(tmp_path: Path, seed: int) -> None:
    promises = kill_rounds(tmp_path / "hearth.db", rounds=25, seed=seed)

    assert len(promises.finished) > 25


OPENER = """
import asyncio, os, sys
from pathlib import Path

import agents.storage.store
from agents.clock import SystemClock
from agents.credentials import KeyKind, ResolvedKey
from agents.storage import Store

os.write(1, b"about to open\\n")
key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(range(32)))
store = asyncio.run(Store.open(Path(sys.argv[1]), key, clock=SystemClock()))
os.write(1, b"opened\\n")
sys.stdin.read()
"""


def test_a_start_killed_while_it_makes_or_opens_the_database_does_not_hinder_the_next(tmp_path: Path) -> None:
    path = tmp_path / "hearth.db"
    opened = 0
    for number in range(10):
        opener = subprocess.Popen(
            [sys.executable, "-c", OPENER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert opener.stdout is not None
        assert opener.stdin is not None
        assert opener.stdout.readline() == "about to open\n"
        time.sleep(number * 0.004)
        opener.kill()
        opened += opener.stdout.read() == "opened\n"
        opener.wait(10)
        opener.stdout.close()
        opener.stdin.close()
        if number % 2:
            assert asyncio.run(check(path, Promises())) == 0
            path.unlink()

    assert not {file.name for file in tmp_path.iterdir()} - {"hearth.db", "hearth.db-wal"}
    assert opened < 10  # at least one was killed on its way
