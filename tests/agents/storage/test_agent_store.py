"""Agents live with their revisions; a removed one leaves its history and its name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agents.core import Agent, FileState, NotifyPolicy, RunStatus
from agents.errors import Conflict, NotFound
from agents.storage import Store
from agents.triggers import FileTrigger
from tests.agents.conftest import definition_of
from tests.agents.storage.databases import occurrence


async def test_a_definition_comes_back_as_it_was(store: Store) -> None:
    odd = Path(os.fsdecode(b"/in/b\xf6x \xff"))
    definition = replace(
        definition_of(Path("/inbox"), name="Größe 📄"),
        triggers=(
            FileTrigger(folders=(odd, Path("/b")), patterns=("*.md",), recursive=False, settle_s=0.5),
            FileTrigger(folders=(Path("/c"),)),
        ),
        read_folders=(odd, Path("/b"), Path("/c")),
        model="/models/å.gguf",
        notify=NotifyPolicy.FAILED,
        instructions="Be brief.\n",
    )

    added = await store.agents.add(definition, "---\nname: x\n---\n")

    assert added.definition == definition
    assert added.source == "---\nname: x\n---\n"
    assert (added.revision, added.paused) == (1, False)
    assert await store.agents.get("größe 📄") == added
    assert await store.agents.by_id(added.id) == added
    assert await store.agents.list() == [added]
    assert await store.agents.definition(added.revision_id) == definition


@pytest.mark.parametrize("name", ["Document digest", "DOCUMENT DIGEST", "document Digest"])
async def test_a_name_is_taken_in_any_case(store: Store, agent: Agent, name: str) -> None:
    with pytest.raises(Conflict, match="already an agent named"):
        await store.agents.add(definition_of(Path("/x"), name=name), "source")

    assert len(await store.agents.list()) == 1


async def test_a_change_is_a_new_revision_and_the_old_one_stays(store: Store, agent: Agent) -> None:
    changed = replace(agent.definition, description="Now different.", triggers=())

    revised = await store.agents.revise(agent.id, changed, "source 2")

    assert (revised.id, revised.revision, revised.definition) == (agent.id, 2, changed)
    assert await store.agents.definition(agent.revision_id) == agent.definition
    revisions = await store.agents.revisions(agent.id)
    assert [(revision.number, revision.source) for revision in revisions] == [(1, "source"), (2, "source 2")]
    assert await store.agents.revision(revised.revision_id) == revisions[1]


async def test_a_run_keeps_the_revision_that_was_current_when_it_was_due(store: Store, agent: Agent) -> None:
    before = await store.runs.record(occurrence(agent.id, "a"))
    revised = await store.agents.revise(agent.id, agent.definition, "source 2")
    after = await store.runs.record(occurrence(agent.id, "b"))

    assert before is not None
    assert after is not None
    assert (before.revision_id, after.revision_id) == (agent.revision_id, revised.revision_id)


async def test_a_revision_may_change_the_case_of_a_name_and_nothing_more(store: Store, agent: Agent) -> None:
    recased = await store.agents.revise(agent.id, replace(agent.definition, name="DOCUMENT digest"), "s")
    assert recased.name == "DOCUMENT digest"

    with pytest.raises(Conflict, match="can't rename"):
        await store.agents.revise(agent.id, replace(agent.definition, name="Other"), "s")
    assert len(await store.agents.revisions(agent.id)) == 2


async def test_pausing_is_remembered(store: Store, agent: Agent) -> None:
    assert (await store.agents.set_paused(agent.id, True)).paused
    assert (await store.agents.get(agent.name)).paused
    assert not (await store.agents.set_paused(agent.id, False)).paused


async def test_a_removed_agent_is_gone_but_its_history_is_not(store: Store, agent: Agent) -> None:
    run = await store.runs.record(
        occurrence(agent.id, "a"),
        file_state=FileState(path=Path("/a"), size_bytes=1, mtime_ns=1, inode=1, content_hash="h"),
    )
    assert run is not None

    await store.agents.remove(agent.id)

    assert await store.agents.list() == []
    for gone in (store.agents.get(agent.name), store.agents.by_id(agent.id), store.agents.remove(agent.id)):
        with pytest.raises(NotFound):
            await gone
    ended = await store.runs.get(run.id)
    assert (ended.status, ended.agent_name) == (RunStatus.CANCELLED, agent.name)
    assert ended.reason == "Its agent was removed."
    assert await store.runs.list(agent=agent.name) == [ended]
    assert await store.agents.definition(run.revision_id) == agent.definition
    assert await store.files.known(agent.id) == {}


async def test_a_removed_agents_name_is_free_again(store: Store, agent: Agent) -> None:
    await store.agents.remove(agent.id)

    again = await store.agents.add(agent.definition, "source")

    assert again.id != agent.id
    assert await store.agents.get(agent.name) == again


async def test_a_removed_agent_gets_no_new_runs(store: Store, agent: Agent) -> None:
    await store.agents.remove(agent.id)

    with pytest.raises(NotFound):
        await store.runs.record(occurrence(agent.id, "late"))


async def test_a_run_in_work_when_its_agent_is_removed_ends_as_cancelled_when_given_back(
    store: Store, agent: Agent
) -> None:
    run = await store.runs.record(occurrence(agent.id, "a"))
    assert run is not None
    await store.runs.begin(run.id, owner="me", model="m")
    await store.agents.remove(agent.id)

    assert (await store.runs.get(run.id)).status is RunStatus.RUNNING
    given_back = await store.runs.give_back(run.id)

    assert (given_back.status, given_back.reason) == (RunStatus.CANCELLED, "Its agent was removed.")


async def test_what_does_not_exist_is_named(store: Store) -> None:
    for missing in (
        store.agents.get("nobody"),
        store.agents.by_id(7),
        store.agents.revision(7),
        store.agents.definition(7),
        store.agents.set_paused(7, True),
        store.agents.revise(7, definition_of(Path("/x")), "s"),
    ):
        with pytest.raises(NotFound, match=r"^There is no .*\.$"):
            await missing
