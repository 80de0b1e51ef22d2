"""kill -9 at every boundary of a run's work: one completion for its due time, one effect, one file, and no question asked in vain."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.clock import SystemClock
from agents.core import AgentDefinition, AgentKind, NewOccurrence, Run, RunStatus, StepStatus
from agents.home import HomeLock
from agents.paths import HomePaths
from agents.storage import Store
from agents.triggers import TriggerKind, WebhookTrigger
from tests.integration.failing_runtime import ASKED, BOUNDARIES, KEY

ROOT = Path(__file__).resolve().parents[2]
KILLED = -9
TEXT = "# Morning note\n\nGood morning to all of you.\n"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")


@dataclass(frozen=True, kw_only=True)
class Home:
    """A home with one webhook call that waits."""

    root: Path
    out: Path


async def furnished(folder: Path, name: str) -> Home:
    home = Home(root=folder / name, out=folder / f"{name}-out")
    home.out.mkdir()
    definition = AgentDefinition(
        name="Morning note",
        description="Writes.",
        kind=AgentKind.WRITE,
        triggers=(WebhookTrigger(hook="morning"),),
        read_folders=(),
        write_folder=home.out,
        instructions="Write a friendly greeting.",
    )
    paths = HomePaths(home.root)
    clock = SystemClock()
    with HomeLock(paths):
        store = await Store.open(paths.database, KEY, clock=clock)
        agent = await store.agents.add(definition, "source")
        called = NewOccurrence(
            agent_id=agent.id, trigger=TriggerKind.WEBHOOK, key="call", due_at=clock.now(), input="A call."
        )
        assert await store.schedule.announce(called) is not None
        await store.close()
    return home


def live(*homes: tuple[Home, int]) -> list[list[int]]:
    """Exit codes of the processes in each home."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.failing_runtime", *(f"{h.root}={n}" for h, n in homes)],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [[int(code) for code in line.split()] for line in done.stdout.splitlines()]


async def check(home: Home) -> Run:
    """Exactly once, wherever it died; returns the run."""
    store = await Store.open(HomePaths(home.root).database, KEY, clock=SystemClock())
    try:
        [run] = await store.runs.list()
        assert run.status is RunStatus.SUCCEEDED, run.reason
        [occurrence] = await store.schedule.list()
        assert (occurrence.key, occurrence.status.value) == ("call", "succeeded")
        [effect] = await store.runs.effects(run.id)
        [path] = home.out.iterdir()
        assert effect.outcome["path"] == str(path)
        assert path.read_text() == TEXT
        assert path.stat().st_nlink == 1
        steps = await store.runs.steps(run.id)
        assert [step.key for step in steps] == ["gather", "write", "result-file"]
        assert all(step.status is StepStatus.SUCCEEDED for step in steps)
    finally:
        await store.close()
    return run


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="h-") as path:  # a socket's path has to be short
        yield Path(path)


@pytest.mark.timeout(300)
async def test_a_kill_at_every_boundary_leaves_one_completion_one_effect_and_one_file(folder: Path) -> None:
    whole = await furnished(folder, "0")
    assert live((whole, 0)) == [[0]]
    assert (await check(whole)).attempt == 1
    boundaries = (whole.root / BOUNDARIES).read_text().splitlines()
    assert {"run begun", "step saved", "effect intended", "effect made", "run settled"} <= set(boundaries)

    homes = [(await furnished(folder, str(n)), n) for n in range(1, len(boundaries) + 1)]
    codes = live(*homes)
    assert codes == [[KILLED, 0]] * len(boundaries)
    for home, number in homes:
        run = await check(home)
        died_at = boundaries[number - 1]
        assert run.attempt == (1 if died_at == "run settled" else 2), died_at
        asked = len((home.root / ASKED).read_text().splitlines())
        # An answer that was there and not yet on disk is the only one that may be asked for again.
        answer_lost = died_at == "step worked" and boundaries[:number].count("step worked") == 2
        assert asked == (2 if answer_lost else 1), died_at
