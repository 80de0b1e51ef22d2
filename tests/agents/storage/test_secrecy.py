"""Nothing that a user wrote can be read from the files of an encrypted home."""

from __future__ import annotations

from pathlib import Path

from agents.clock import SystemClock
from agents.core import MessageStatus, NewResult, RunStatus, StepKind, StepUsage
from agents.credentials import ResolvedKey
from agents.storage import Store
from tests.agents.conftest import definition_of
from tests.agents.storage.databases import KEY, NO_KEY, occurrence

CANARY = "canary-Zk3vQ9"


async def write_everywhere(path: Path, key: ResolvedKey) -> dict[str, bytes]:
    """Puts the canary into every table and returns the bytes of all files, before and after the store is closed."""
    store = await Store.open(path, key, clock=SystemClock())
    agent = await store.agents.add(definition_of(Path(f"/{CANARY}"), name=CANARY), CANARY * 400)
    run = await store.runs.record(occurrence(agent.id, CANARY, path=Path(f"/{CANARY}"), content_hash=CANARY))
    assert run is not None
    await store.runs.begin(run.id, owner=CANARY, model=CANARY)
    step = await store.runs.begin_step(run.id, key=CANARY, kind=StepKind.READ, title=CANARY)
    await store.runs.finish_step(step.id, output=CANARY * 400, detail=CANARY, usage=StepUsage())
    result = NewResult(title=CANARY, summary=CANARY, action_items=(CANARY,), category=CANARY)
    await store.runs.finish(run.id, RunStatus.SUCCEEDED, result=result)
    talk = await store.conversations.create(CANARY)
    await store.conversations.add_turn(talk.id, role="user", text=CANARY, status=MessageStatus.COMPLETE)
    await store.meta.set(CANARY, CANARY)
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    await store.close()
    return files | {f"{file.name}, closed": file.read_bytes() for file in path.parent.iterdir()}


async def test_no_file_of_an_encrypted_home_holds_what_was_stored(tmp_path: Path) -> None:
    files = await write_everywhere(tmp_path / "hearth.db", KEY)

    assert set(files) == {"hearth.db", "hearth.db-wal", "hearth.db, closed"}
    for name, content in files.items():
        assert CANARY.encode() not in content, name
        assert b"SQLite format" not in content, name
        assert b"CREATE TABLE" not in content, name


async def test_the_canary_is_found_where_nothing_is_encrypted(tmp_path: Path) -> None:
    """The test above could not fail if the canary never reached the files."""
    files = await write_everywhere(tmp_path / "hearth.db", NO_KEY)

    assert CANARY.encode() in files["hearth.db-wal"]
    assert CANARY.encode() in files["hearth.db, closed"]


async def test_values_that_are_printed_hide_what_they_hold(tmp_path: Path) -> None:
    assert repr(bytes(range(32)))[2:20] not in repr(KEY)
    assert bytes(range(32)).hex() not in repr(KEY)
