"""Many files at once are told of in one run, without a model."""

from __future__ import annotations

import os
from pathlib import Path

from agents.core import Agent, NewOccurrence, RunStatus
from agents.runs.storm import digest_of
from agents.runs.workflows import do_work
from agents.storage import Store
from agents.triggers import TriggerKind
from engine.fakes import ScriptedEngine
from tests.agents.conftest import FakeClock
from tests.agents.runs.houses import house


def test_a_storm_is_told_by_folder_and_type_with_the_newest_names() -> None:
    files = [
        (Path(f"/in/{'a' if n % 3 else 'b'}/{n}.{'txt' if n % 2 else 'md'}"), 1_024) for n in range(3_000)
    ]
    told = digest_of(files)
    assert told.title == "3,000 new files at once"
    assert "3,000 files came at once (2.9 MB together)" in told.summary
    assert "By folder: /in/a (2,000), /in/b (1,000)." in told.summary
    assert "By type: .md (1,500), .txt (1,500)." in told.summary
    assert "The newest: 0.md, 1.txt, 2.md" in told.summary
    assert "and 2,980 more." in told.summary
    assert digest_of(files) == told


async def test_one_run_tells_of_all_files_of_a_storm_and_asks_no_model(
    store: Store, clock: FakeClock, agent: Agent, folder: Path
) -> None:
    files = []
    for number in range(30):
        path = folder / f"{number:02}.md"
        path.write_text("x" * number)
        os.utime(path, (1_000 + number, 1_000 + number))
        files.append((path, f"{number:064}", number))
    new = NewOccurrence(
        agent_id=agent.id, trigger=TriggerKind.FILE_CHANGED, key="storm:1", due_at=clock.now()
    )
    run = await store.runs.record(new, files=files)
    assert run is not None
    engine = ScriptedEngine([])
    async with house(store, clock, engine, do_work) as made:
        done = await made.until(run, RunStatus.SUCCEEDED)
    assert done.title == "30 new files at once"
    result = await store.runs.result_of(run.id)
    assert result is not None
    assert "The newest: 29.md, 28.md" in result.summary
    assert engine.requests == []
