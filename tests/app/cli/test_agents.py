"""`hearth agents`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from agents.contract import AgentDetail, AgentInfo
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime
from tests.app.desktop.fake_runtime import a_run, an_agent

SOURCE = "---\nname: Contracts\n---\nRead them.\n"


@pytest.fixture
def agent_file(tmp_path: Path) -> Path:
    file = tmp_path / "contracts.md"
    file.write_text(SOURCE)
    return file


@pytest.fixture
def digest(fake: ScriptedRuntime) -> AgentInfo:
    fake.agents["Document digest"] = an_agent(succeeded=3, failed=1, last_run=a_run(4, status="failed"))
    return fake.agents["Document digest"]


def test_list_shows_each_agent_on_a_line(hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo) -> None:
    fake.agents["Sorter"] = an_agent("Sorter", paused=True, folders=[])
    fake.agents["Broken"] = an_agent("Broken", problem="/gone is missing.")
    lines = hearth("agents", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "WAITING", "DONE", "FAILED", "LAST", "RUN", "FOLDERS"]
    assert "Document digest  on" in lines[1]
    assert "failed" in lines[1]
    assert "/home/me/Inbox" in lines[1]
    assert "paused" in lines[2]
    assert "none chosen" in lines[2]
    assert lines[4] == "Broken: /gone is missing."


def test_a_run_in_work_is_told_as_running_and_not_as_waiting(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.agents["Busy"] = an_agent("Busy", waiting=3, running=1)
    row = next(line for line in hearth("agents", "list").out.splitlines() if line.startswith("Busy"))
    assert row.split()[:3] == ["Busy", "running", "2"]
    assert "1 running, 2 waiting, 0 succeeded" in hearth("agents", "show", "Busy").out


def test_list_as_json_is_the_contract(hearth: Hearth, digest: AgentInfo) -> None:
    out = hearth("agents", "list", "--json").out
    assert TypeAdapter(list[AgentInfo]).validate_json(out) == [digest]


def test_an_empty_list_says_what_to_do(hearth: Hearth, fake: ScriptedRuntime) -> None:
    assert "`hearth agents add FILE`" in hearth("agents", "list").out


@pytest.mark.usefixtures("digest")
def test_show_tells_what_an_agent_may_touch(hearth: Hearth) -> None:
    out = hearth("agents", "show", "Document digest").out
    assert "read files in /home/me/Inbox" in out
    assert "3 succeeded, 1 failed" in out
    assert "name: Document digest" in out
    assert AgentDetail.model_validate_json(hearth("agents", "show", "Document digest", "--json").out)


def test_an_unknown_agent_is_the_runtimes_sentence(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.refusals["GET /v1/agents/Nobody"] = (404, "not_found", "There is no agent named Nobody.")
    ended = hearth("agents", "show", "Nobody")
    assert (ended.code, ended.sentence()) == (1, "There is no agent named Nobody.")


def test_pause_and_resume(hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo) -> None:
    assert hearth("agents", "pause", digest.name).out == "Document digest is paused.\n"
    assert fake.agents[digest.name].paused
    assert json.loads(hearth("agents", "resume", digest.name, "--json").out)["paused"] is False


def test_folders_are_told_as_absolute_paths(
    hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = hearth("agents", "folders", digest.name, "in", "/other/")
    assert fake.bodies[-1].folders == [str(tmp_path / "in"), "/other"]
    assert ended.out == f"Document digest watches {tmp_path / 'in'}, /other.\n"


def test_run_tells_the_file_as_an_absolute_path(
    hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = hearth("agents", "run", digest.name, "note.md")
    assert fake.bodies[-1].file == str(tmp_path / "note.md")
    assert ended.out == "Nothing new in /home/me/Inbox.\n"
    hearth("agents", "run", digest.name)
    assert fake.bodies[-1].file is None


def test_a_path_that_is_not_unicode_is_one_sentence(hearth: Hearth, digest: AgentInfo) -> None:
    ended = hearth("agents", "run", digest.name, os.fsdecode(b"\xff.md"))
    assert ended.code == 2
    assert "is not valid UTF-8" in ended.sentence()


def test_too_many_folders_are_one_sentence(hearth: Hearth, digest: AgentInfo) -> None:
    ended = hearth("agents", "folders", digest.name, *[f"/f{number}" for number in range(51)])
    assert ended.code == 2
    assert "The folders can't be used" in ended.sentence()


# --- add


def test_without_a_terminal_and_without_a_yes_nothing_is_added(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path
) -> None:
    ended = hearth("agents", "add", agent_file, stdin=b"y\n")
    assert ended.code == 2
    assert (
        ended.sentence() == "This agent asks for: read files in /home/me/Contracts. Say yes to it with --yes."
    )
    assert fake.agents == {}


def test_yes_grants_what_an_agent_asks_for(hearth: Hearth, fake: ScriptedRuntime, agent_file: Path) -> None:
    ended = hearth("agents", "add", agent_file, "--yes")
    assert ended.code == 0
    assert ended.out.startswith("Added Contracts, revision 1.\n  it may read files in ")
    assert fake.bodies[-1].source == SOURCE
    assert [body.accept for body in fake.bodies] == [True]


def test_what_a_user_may_not_expect_is_said_of_an_agent(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path
) -> None:
    fake.notes = ["There is no agent named “Nobody”.", "It is late."]
    ended = hearth("agents", "add", agent_file, "--yes")
    assert ended.out.splitlines()[-2:] == fake.notes
    shown = hearth("agents", "show", "Contracts").out
    assert "note" in shown
    assert all(note in shown for note in fake.notes)


def test_at_a_terminal_it_shows_what_is_asked_for_and_waits_for_a_yes(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path
) -> None:
    ended = hearth("agents", "add", agent_file, "--replace", stdin=b"y\n", terminal=True)
    assert ended.code == 0
    assert "  - read files in /home/me/Contracts\n" in ended.err
    assert "Contracts" in fake.agents
    assert all(body.replace for body in fake.bodies)


@pytest.mark.parametrize("words", [b"n\n", b"\n"])
def test_at_a_terminal_anything_but_a_yes_adds_nothing(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path, words: bytes
) -> None:
    ended = hearth("agents", "add", agent_file, stdin=words, terminal=True)
    assert ended.code == 2
    assert ended.err.endswith("Nothing was added.\n")
    assert fake.agents == {}


def test_added_as_json_leaves_stdout_to_the_answer(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path
) -> None:
    ended = hearth("agents", "add", agent_file, "--json", stdin=b"y\n", terminal=True)
    assert AgentDetail.model_validate_json(ended.out).name == "Contracts"


def test_a_line_that_the_runtime_refuses_is_its_sentence_and_exit_code_2(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path
) -> None:
    sentence = "Line 4: unknown key 'trigers'; did you mean 'triggers'?"
    fake.refusals["POST /v1/agents"] = (400, "usage", sentence)
    ended = hearth("agents", "add", agent_file, "--yes")
    assert (ended.code, ended.sentence()) == (2, sentence)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "There is no agent file at"), (b"\xff\xfe", "is not UTF-8"), (b"x" * 200_001, "is too large")],
    ids=["missing", "binary", "huge"],
)
def test_an_agent_file_that_can_not_be_read_is_wrong_usage(
    hearth: Hearth, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    file = tmp_path / "agent.md"
    if content is not None:
        file.write_bytes(content)
    ended = hearth("agents", "add", file)
    assert ended.code == 2
    assert expected in ended.sentence()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_agent_file_is_wrong_usage(hearth: Hearth, agent_file: Path) -> None:
    agent_file.chmod(0)
    ended = hearth("agents", "add", agent_file)
    assert ended.code == 2
    assert "can't be read: Permission denied" in ended.sentence()


def test_a_second_agent_of_the_same_name_is_told_how_to_replace_the_first(
    hearth: Hearth, fake: ScriptedRuntime, agent_file: Path
) -> None:
    sentence = "There is already an agent named “Contracts”; change the name, or add it as a replacement."
    fake.refusals["POST /v1/agents"] = (409, "conflict", sentence)
    ended = hearth("agents", "add", agent_file, "--yes")
    assert ended.code == 1
    assert "`hearth agents add --replace`" in ended.sentence()


# --- remove


def test_yes_removes_an_agent_and_says_what_stays(
    hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo
) -> None:
    ended = hearth("agents", "remove", digest.name, "--yes")
    assert ended.code == 0
    assert ended.out == "Removed Document digest; its runs and results stay readable.\n"
    assert fake.agents == {}


def test_removed_as_json_is_one_object(hearth: Hearth, digest: AgentInfo) -> None:
    out = hearth("agents", "remove", digest.name, "--yes", "--json").out
    assert json.loads(out) == {"removed": digest.name}


def test_without_a_terminal_and_without_a_yes_nothing_is_removed(
    hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo
) -> None:
    ended = hearth("agents", "remove", digest.name, stdin=b"y\n")
    assert ended.code == 2
    assert "--yes" in ended.sentence()
    assert digest.name in fake.agents


@pytest.mark.parametrize(("word", "code"), [(b"y\n", 0), (b"n\n", 2), (b"\n", 2)])
def test_at_a_terminal_removing_waits_for_a_yes(
    hearth: Hearth, fake: ScriptedRuntime, digest: AgentInfo, word: bytes, code: int
) -> None:
    ended = hearth("agents", "remove", digest.name, stdin=word, terminal=True)
    assert ended.code == code
    assert "Its runs and results stay readable." in ended.err
    assert (digest.name in fake.agents) == (code != 0)


def test_removing_an_unknown_agent_asks_nothing(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.refusals["GET /v1/agents/Nobody"] = (404, "not_found", "There is no agent named Nobody.")
    ended = hearth("agents", "remove", "Nobody", stdin=b"y\n", terminal=True)
    assert (ended.code, ended.sentence()) == (1, "There is no agent named Nobody.")
