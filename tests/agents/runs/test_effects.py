"""A change outside is made once, wherever the runtime died. Real store, real folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.core import Agent, EffectKind, NewResult, Run
from agents.runs.effects import Found, Trace, make_once
from agents.runs.problems import EffectRefused, EffectTrouble, Unverified
from agents.runs.result_file import WriteFile, as_markdown, file_request
from agents.runs.result_name import result_name
from agents.storage import Store
from tests.agents.conftest import FakeClock
from tests.agents.runs.houses import record

RESULT = NewResult(title="Spring\nnews", summary="All is well.", action_items=("Call Ana.",), category="text")
DUE = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


class Bell:
    """A change that leaves no trace but a count."""

    kind = EffectKind.WRITE_FILE
    doubt = "Nobody knows whether the bell was rung."

    def __init__(self, *, is_idempotent: bool, found: Found | None = None) -> None:
        self.is_idempotent = is_idempotent
        self.rung = 0
        self._found = found or Found(trace=Trace.UNKNOWN)

    def file_of(self, request: Any) -> None:
        return None

    async def find(self, request: Any) -> Found:
        return self._found

    async def perform(self, request: Any) -> Any:
        self.rung += 1
        return {"rung": self.rung}


@pytest.fixture
async def run(store: Store, clock: FakeClock, agent: Agent, folder: Path) -> Run:
    recorded = await record(store, agent, folder / "a.md", clock)
    return await store.runs.begin(recorded.id, owner="me", model="m")


def no_failpoint(_: str) -> None:
    pass


async def ring(store: Store, run: Run, bell: Bell) -> Any:
    return await make_once(store.runs, run.id, key="bell", request={}, change=bell, at=no_failpoint)


async def test_a_change_whose_outcome_is_known_is_not_made_again(store: Store, run: Run) -> None:
    bell = Bell(is_idempotent=True)
    assert [await ring(store, run, bell), await ring(store, run, bell)] == [{"rung": 1}, {"rung": 1}]
    assert bell.rung == 1


async def intend(store: Store, run: Run) -> None:
    """What a runtime leaves that died between the intent and the outcome."""
    await store.runs.put_effect(run.id, "bell", EffectKind.WRITE_FILE, {})


async def test_a_change_that_is_found_in_the_world_is_taken_as_made(store: Store, run: Run) -> None:
    await intend(store, run)
    bell = Bell(is_idempotent=False, found=Found(trace=Trace.DONE, outcome={"rung": "before"}))
    assert await ring(store, run, bell) == {"rung": "before"}
    assert bell.rung == 0
    [effect] = await store.runs.effects(run.id)
    assert effect.outcome == {"rung": "before"}


async def test_a_change_that_certainly_did_not_happen_is_made(store: Store, run: Run) -> None:
    await intend(store, run)
    bell = Bell(is_idempotent=False, found=Found(trace=Trace.NOT_DONE))
    assert await ring(store, run, bell) == {"rung": 1}


async def test_a_change_of_which_nobody_knows_is_made_again_only_where_that_does_no_harm(
    store: Store, run: Run
) -> None:
    await intend(store, run)
    with pytest.raises(Unverified, match="Nobody knows whether the bell was rung"):
        await ring(store, run, Bell(is_idempotent=False))
    assert await ring(store, run, Bell(is_idempotent=True)) == {"rung": 1}


async def test_a_change_that_has_begun_ends_and_is_known_when_its_run_is_cancelled(
    store: Store, run: Run
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Slow(Bell):
        async def perform(self, request: Any) -> Any:
            begun.set()
            await may_end.wait()
            return await super().perform(request)

    task = asyncio.create_task(ring(store, run, Slow(is_idempotent=False)))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    [effect] = await store.runs.effects(run.id)
    assert effect.outcome == {"rung": 1}


# --- the one change there is: a result as a file ---


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def request(run: Run, out: Path, result: NewResult = RESULT) -> dict[str, Any]:
    return file_request(run, result, folder=out, due_local=DUE)


async def test_a_result_becomes_one_private_markdown_file(run: Run, out: Path) -> None:
    await WriteFile(out).perform(request(run, out))
    [path] = out.iterdir()
    assert path.name == f"document-digest 2026-03-01 08.00 run {run.id}.md"
    assert path.read_text() == "# Spring news\n\nAll is well.\n\n## To do\n\n- Call Ana.\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1


async def test_writing_the_same_again_changes_nothing(run: Run, out: Path) -> None:
    await WriteFile(out).perform(request(run, out))
    [path] = out.iterdir()
    before = path.stat()
    await WriteFile(out).perform(request(run, out))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


async def test_what_somebody_else_put_there_is_left_as_it_is(run: Run, out: Path) -> None:
    asked = request(run, out)
    Path(asked["path"]).write_text("mine")
    with pytest.raises(EffectRefused, match="left as it is"):
        await WriteFile(out).perform(asked)
    assert [path.read_text() for path in out.iterdir()] == ["mine"]


async def test_a_link_in_the_file_s_place_leads_nowhere(run: Run, out: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    asked = request(run, out)
    Path(asked["path"]).symlink_to(victim)
    with pytest.raises(EffectRefused):
        await WriteFile(out).perform(asked)
    assert victim.read_text() == "mine"


async def test_a_folder_that_became_a_link_is_not_followed(run: Run, out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.rmdir()
    out.symlink_to(elsewhere)
    with pytest.raises(EffectRefused, match="is a link"):
        await WriteFile(out).perform(request(run, out))
    assert list(elsewhere.iterdir()) == []


async def test_only_the_agent_s_own_folder_is_written_to(run: Run, out: Path, tmp_path: Path) -> None:
    with pytest.raises(EffectRefused, match="may no longer write"):
        await WriteFile(tmp_path / "other").perform(request(run, out))


async def test_what_a_crash_left_half_written_is_written_anew(run: Run, out: Path) -> None:
    asked = request(run, out)
    path = Path(asked["path"])
    (out / f".{path.name}.part").write_text("half")
    assert (await WriteFile(out).find(asked)).trace is Trace.NOT_DONE
    await WriteFile(out).perform(asked)
    assert [found.name for found in out.iterdir()] == [path.name]


async def test_what_a_crash_left_whole_is_found_and_tidied(run: Run, out: Path) -> None:
    asked = request(run, out)
    path = Path(asked["path"])
    path.write_text(asked["text"])
    os.link(path, out / f".{path.name}.part")  # it died between the name and the end of the other one
    found = await WriteFile(out).find(asked)
    assert (found.trace, found.outcome) == (Trace.DONE, {"path": str(path), "sha256": asked["sha256"]})
    assert [found.name for found in out.iterdir()] == [path.name]


async def test_a_folder_that_is_gone_is_told_and_not_made(run: Run, out: Path) -> None:
    out.rmdir()
    with pytest.raises(EffectRefused, match="There is no folder"):
        await WriteFile(out).perform(request(run, out))
    assert not out.exists()


async def test_a_full_disk_is_trouble_that_passes(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.runs.result_file.os.fsync", full)
    with pytest.raises(EffectTrouble, match="No space left"):
        await WriteFile(out).perform(request(run, out))
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["Räume & Träume", "../../etc/passwd", "a/b\\c", "…", "x" * 300, "\U00020000" * 64, "CON:*?"]
)
def test_a_file_s_name_is_harmless_whatever_the_agent_is_called(run: Run, name: str) -> None:
    made = result_name(name, run_id=run.id, due_local=DUE)
    assert made == Path(made).name
    assert not made.startswith(".")
    assert len(f".{made}.part".encode()) <= 255
    assert not set(made) & set('/\\:*?"<>|')


def test_half_a_surrogate_pair_does_not_end_a_run() -> None:
    text = as_markdown(NewResult(title="a\ud800", summary="b", action_items=(), category="text"))
    assert hashlib.sha256(text.encode("utf-8"))


async def test_files_that_an_agent_wrote_are_known_as_its_own(
    store: Store, agent: Agent, run: Run, out: Path
) -> None:
    asked = request(run, out)
    await make_once(store.runs, run.id, key="f", request=asked, change=WriteFile(out), at=no_failpoint)
    assert await store.runs.own_files(agent.id) == {(Path(asked["path"]), asked["sha256"])}
