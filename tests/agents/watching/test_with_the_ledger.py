"""Names that change between a file's notice and its run, with the real ledger: nothing is lost, and nothing is read twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from agents.core import (
    FILE_GONE,
    Agent,
    FileState,
    NewOccurrence,
    NewResult,
    Run,
    RunStatus,
    StepKind,
    StepUsage,
)
from agents.storage import Store
from tests.agents.watching.conftest import Watching
from tests.agents.watching.test_service import write_old

RESULT = NewResult(title="t", summary="s", action_items=(), category="c")


class Ledger:
    """The real store as the runtime hands it to the service, and as the runs change it."""

    def __init__(self, store: Store) -> None:
        self.files = store.files
        self.runs = store.runs
        self.recorded: list[Path] = []
        self.storms: list[Run] = []

    async def record(self, new: NewOccurrence, state: FileState) -> bool:
        run = await self.runs.record(new, file_state=state)
        if run is not None and run.path is not None:
            self.recorded.append(run.path)
        return run is not None

    async def record_storm(self, new: NewOccurrence, states: Sequence[FileState]) -> bool:
        files = [(state.path, state.content_hash, state.size_bytes) for state in states]
        run = await self.runs.record(new, file_states=states, files=files)
        if run is not None:
            self.storms.append(run)
        return run is not None

    def names(self) -> list[str]:
        return [path.name for path in self.recorded]

    async def begin(self) -> Run:
        run = await self.runs.next_pending()
        assert run is not None
        return await self.runs.begin(run.id, owner="me", model="m")

    async def read(self) -> Run:
        """The next run keeps the text of its file."""
        run = await self.begin()
        step = await self.runs.begin_step(run.id, key="read", kind=StepKind.READ, title="Read")
        await self.runs.finish_step(step.id, output="text", detail=None, usage=StepUsage())
        return run

    async def miss(self) -> None:
        """The next run finds no file."""
        run = await self.begin()
        await self.runs.finish(run.id, RunStatus.FAILED, reason="It is gone.", code=FILE_GONE)


@pytest.fixture
async def watched(tmp_path: Path, store: Store, agent: Agent) -> AsyncIterator[Watching]:
    """The folder of the shared agent `agent`, whose files count as settled at once when they are old."""
    watching = Watching(tmp_path, folder=agent.definition.read_folders[0], store=Ledger(store), agent=agent)
    yield watching
    await watching.stop()


def ledger_of(watched: Watching) -> Ledger:
    assert isinstance(watched.store, Ledger)
    return watched.store


async def look(watched: Watching) -> int:
    assert watched.service is not None
    return await watched.service.scan_now(watched.agent.id)


async def test_a_file_renamed_while_its_run_waits_is_read_under_its_new_name(watched: Watching) -> None:
    ledger = ledger_of(watched)
    path = write_old(watched.folder / "a.txt", "content")
    await watched.start_and_arm()
    path.rename(watched.folder / "b.txt")
    assert await look(watched) == 1
    await ledger.miss()  # the run of a.txt
    assert (await ledger.read()).path == watched.folder / "b.txt"
    assert await look(watched) == 0
    assert ledger.names() == ["a.txt", "b.txt"]


async def test_a_file_renamed_after_it_was_read_is_not_read_again(watched: Watching) -> None:
    ledger = ledger_of(watched)
    path = write_old(watched.folder / "a.txt", "content")
    await watched.start_and_arm()
    run = await ledger.read()
    path = path.rename(watched.folder / "b.txt")
    assert await look(watched) == 0
    await ledger.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)
    path.rename(watched.folder / "c.txt")
    assert await look(watched) == 0
    assert ledger.names() == ["a.txt"]


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_file_that_was_gone_when_its_run_came_is_read_once_it_is_back(
    watched: Watching, tmp_path: Path, noticed: bool
) -> None:
    ledger = ledger_of(watched)
    path = write_old(watched.folder / "a.txt", "content")
    await watched.start_and_arm()
    aside = path.rename(tmp_path / "aside.txt")
    if noticed:
        await look(watched)
    await ledger.miss()
    aside.rename(path)
    assert await look(watched) == 1
    assert await look(watched) == 0
    assert (await ledger.read()).path == path
    assert await look(watched) == 0
    assert ledger.names() == ["a.txt", "a.txt"]


async def test_a_file_of_an_unplugged_folder_is_read_once_the_folder_is_back(
    watched: Watching, tmp_path: Path
) -> None:
    ledger = ledger_of(watched)
    write_old(watched.folder / "a.txt", "content")
    await watched.start_and_arm()
    watched.folder.rename(tmp_path / "unplugged")
    assert await look(watched) == 0
    await ledger.miss()
    (tmp_path / "unplugged").rename(watched.folder)
    assert await look(watched) == 1
    assert await look(watched) == 0
    assert ledger.names() == ["a.txt", "a.txt"]


async def test_a_file_that_lost_its_run_to_a_rename_and_was_read_is_not_read_again_under_its_old_name(
    watched: Watching,
) -> None:
    ledger = ledger_of(watched)
    path = write_old(watched.folder / "a.txt", "content")
    await watched.start_and_arm()
    renamed = path.rename(watched.folder / "b.txt")
    await look(watched)
    await ledger.miss()
    run = await ledger.read()
    renamed.rename(path)
    assert await look(watched) == 0
    await ledger.runs.finish(run.id, RunStatus.SUCCEEDED, result=RESULT)
    assert await look(watched) == 0
    assert ledger.names() == ["a.txt", "b.txt"]


async def test_a_storm_is_one_run_with_all_its_files_and_they_are_known_then(watched: Watching) -> None:
    ledger = ledger_of(watched)
    paths = [write_old(watched.folder / f"{number}.txt", f"content {number}") for number in range(201)]
    await watched.start_and_arm()
    (run,) = ledger.storms
    assert (run.path, run.status, ledger.recorded) == (None, RunStatus.PENDING, [])
    files = await ledger.runs.occurrence_files(run.occurrence_id)
    assert sorted(path for path, _, _ in files) == sorted(paths)
    assert len(await ledger.files.known(watched.agent.id)) == 201
    await watched.stop()
    await watched.start_and_arm()
    assert await look(watched) == 0
    assert len(ledger.storms) == 1


async def test_a_file_of_a_storm_that_is_renamed_is_not_read_for_that(watched: Watching) -> None:
    ledger = ledger_of(watched)
    paths = [write_old(watched.folder / f"{number}.txt", f"content {number}") for number in range(201)]
    await watched.start_and_arm()
    paths[0].rename(watched.folder / "renamed.txt")
    assert await look(watched) == 0
    write_old(watched.folder / "copy.txt", "content 1")
    assert await look(watched) == 1
    assert ledger.names() == ["copy.txt"]
