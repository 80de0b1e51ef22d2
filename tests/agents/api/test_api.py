"""The HTTP API over its real socket, in process, with a scripted engine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from agents import contract, registry
from agents.clock import SystemClock
from agents.core import AgentDefinition, Run, RunStatus
from agents.credentials import KeyKind, ResolvedKey
from agents.definitions import check_folders, parse_definition
from agents.errors import DiskFull
from agents.logs import close_log, open_log
from agents.paths import HomePaths
from agents.runtime import Runtime
from agents.storage import Store
from engine.errors import ModelSetAside
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec
from tests.agents.runs.test_manager import DOCUMENT, first_choice

DIGEST = "/v1/agents/Document%20digest"
LAST_ID = 2**63 - 1
CANARY = "the user's secret sentence"


class House:
    def __init__(self, runtime: Runtime, http: httpx2.AsyncClient, paths: HomePaths, inbox: Path) -> None:
        self.runtime = runtime
        self.http = http
        self.paths = paths
        self.inbox = inbox

    async def get(self, path: str, status: int = 200) -> Any:
        response = await self.http.get(path)
        assert response.status_code == status, response.text
        return response.json()

    async def post(self, path: str, body: object = None, status: int = 200) -> Any:
        response = await self.http.post(path, json=body)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    async def choose_folder(self, folder: Path | str | None = None, status: int = 200) -> Any:
        response = await self.http.put(f"{DIGEST}/folders", json={"folders": [str(folder or self.inbox)]})
        assert response.status_code == status, response.text
        return response.json()

    async def ended(self, count: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while True:
                runs = await self.get("/v1/runs")
                if len(runs) >= count and all(RunStatus(run["status"]).is_final for run in runs):
                    return runs
                await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(root: Path, engine: ScriptedEngine, key: ResolvedKey) -> AsyncIterator[House]:
    paths = HomePaths(root / "home")
    paths.root.mkdir(mode=0o700, exist_ok=True)
    inbox = root / "inbox"
    inbox.mkdir(exist_ok=True)
    store = await Store.open(paths.database, key, clock=SystemClock())
    runtime = Runtime(
        paths=paths,
        store=store,
        key=key,
        clock=SystemClock(),
        default_model=ModelSpec(path=Path("/nowhere"), name="scripted"),
        make_engine=lambda _: engine,
    )
    task = asyncio.create_task(runtime.run())
    transport = httpx2.AsyncHTTPTransport(uds=str(paths.socket))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://hearth", timeout=30) as http:
            async with asyncio.timeout(10):
                while not paths.socket.exists():
                    await asyncio.sleep(0.01)
            yield House(runtime, http, paths, inbox)
    finally:
        runtime.ask_to_stop()
        await task


@pytest.fixture
def root() -> Any:
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        yield Path(folder)


@pytest.fixture
async def house(root: Path) -> AsyncIterator[House]:
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    async with serving(root, ScriptedEngine(first_choice), key) as made:
        yield made


async def test_the_socket_belongs_to_its_owner_alone_and_is_gone_after_the_stop(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    async with serving(root, ScriptedEngine(first_choice), key) as made:
        assert stat.S_IMODE(made.paths.socket.stat().st_mode) == 0o600
    assert not made.paths.socket.exists()


async def test_a_new_home_has_the_digest_agent_waiting_for_a_folder(house: House) -> None:
    [agent] = await house.get("/v1/agents")
    assert (agent["name"], agent["paused"], agent["folders"]) == ("Document digest", True, [])
    status = contract.Status.model_validate(await house.get("/v1/status"))
    assert (status.encrypted, status.agents, status.agents_paused) == (True, 1, 1)


async def test_choosing_a_folder_starts_the_agent_and_a_file_becomes_a_result(house: House) -> None:
    (house.inbox / "spring.md").write_text(DOCUMENT)
    detail = await house.choose_folder()
    assert (detail["paused"], detail["revision"]) == (False, 2)
    assert detail["asks"] == [f"read files in {house.inbox}"]
    [run] = await house.ended()
    shown = contract.RunDetail.model_validate(await house.get(f"/v1/runs/{run['id']}"))
    assert shown.status == "succeeded"
    assert shown.revision == 2
    assert shown.result is not None
    [result] = await house.get("/v1/results")
    assert result["title"] == "Spring"


async def test_events_tell_what_happened_while_it_happened(house: House) -> None:
    kinds: list[str] = []

    async def listen() -> None:
        async with house.http.stream("GET", "/v1/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    event = contract.Event.model_validate_json(line.removeprefix("data:"))
                    kinds.append(event.data.type)
                    if event.data.type == "result":
                        return

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    (house.inbox / "spring.md").write_text(DOCUMENT)
    await house.choose_folder()
    await asyncio.wait_for(listener, 20)
    assert [kind for kind in kinds if kind in ("run", "step", "result")] == [
        "run",
        "run",
        *["step"] * 6,
        "run",
        "result",
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"folders": []}, "at least one folder"),
        ({"folders": ["relative/path"]}, "absolute"),
        ({"folders": ["~nobody-of-that-name/x"]}, "Nobody's home is known"),
        ({"folders": ["/a\0b"]}, "NUL"),
        ({"folders": ["~a\0b"]}, "NUL"),
        ({"folders": ["/" + 300 * "n"]}, "File name too long"),
        ({"folders": ["/nowhere/at/all"]}, "/nowhere/at/all"),
    ],
)
async def test_folders_that_can_not_be_used_are_refused_in_one_sentence(
    house: House, body: object, words: str
) -> None:
    response = await house.http.put(f"{DIGEST}/folders", json=body)
    assert response.status_code == 400
    problem = response.json()["error"]
    assert problem["code"] == "usage"
    assert words in problem["message"]


async def test_hearths_own_home_is_never_watched(house: House) -> None:
    problem = await house.choose_folder(house.paths.root, status=400)
    assert "Hearth" in problem["error"]["message"]


async def test_adding_an_agent_shows_what_it_asks_for_and_needs_a_yes(house: House) -> None:
    source = (
        "---\nname: Bills\ndescription: Reads bills.\nkind: digest\n"
        f"triggers:\n  - on: file_changed\n    folders: [{house.inbox}]\n"
        f"capabilities:\n  read: [{house.inbox}]\n---\nOnly amounts.\n"
    )
    refused = await house.post("/v1/agents", {"source": source}, status=409)
    assert refused["error"]["code"] == "needs_consent"
    assert refused["error"]["details"]["asks"] == [f"read files in {house.inbox}"]
    assert len(await house.get("/v1/agents")) == 1
    added = await house.post("/v1/agents", {"source": source, "accept": True}, status=201)
    assert added["name"] == "Bills"
    again = await house.post("/v1/agents", {"source": source, "accept": True}, status=409)
    assert again["error"]["code"] == "conflict"
    same = await house.post("/v1/agents", {"source": source, "replace": True}, status=201)
    assert same["revision"] == 2  # nothing new was asked for, so no yes was needed


async def test_an_unknown_key_in_an_agent_file_is_named_with_its_line(house: House) -> None:
    problem = await house.post("/v1/agents", {"source": "---\nname: X\ntrigers: []\n---\n"}, status=400)
    assert "3" in problem["error"]["message"]
    assert "trigers" in problem["error"]["message"]


async def test_pausing_stops_the_watching_and_resuming_catches_up(house: House) -> None:
    await house.choose_folder()
    assert (await house.post(f"{DIGEST}/pause"))["paused"] is True
    (house.inbox / "spring.md").write_text(DOCUMENT)
    refused = await house.post(f"{DIGEST}/run", {}, status=409)
    assert "paused" in refused["error"]["message"]
    by_hand = await house.post(f"{DIGEST}/run", {"file": str(house.inbox / "spring.md")}, status=409)
    assert by_hand == refused
    await house.post(f"{DIGEST}/resume")
    [run] = await house.ended()
    assert run["status"] == "succeeded"


async def test_an_agent_without_a_folder_can_not_be_resumed_or_run(house: House) -> None:
    for action in ("resume", "run"):
        problem = await house.post(f"{DIGEST}/{action}", {}, status=400)
        assert "choose one first" in problem["error"]["message"]


async def test_running_by_hand_on_a_file_digests_it_again(house: House) -> None:
    path = house.inbox / "spring.md"
    path.write_text(DOCUMENT)
    await house.choose_folder()
    await house.ended()
    nothing = await house.post(f"{DIGEST}/run", {})
    assert nothing["runs"] == []
    assert "Nothing new" in nothing["message"]
    started = await house.post(f"{DIGEST}/run", {"file": str(path)})
    assert len(started["runs"]) == 1
    assert [run["trigger"] for run in await house.ended(2)] == ["manual", "file_changed"]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("/etc/passwd", "may not read"),
        ("INBOX/../secret.md", "may not read"),
        ("INBOX/nothing.md", "There is no file"),
        ("INBOX/" + 300 * "n", "File name too long"),
        ("INBOX/a\0b", "NUL"),
        ("~nobody-of-that-name/x.md", "Nobody's home is known"),
        ("notes.md", "absolute"),
    ],
)
async def test_a_file_that_can_not_be_run_is_refused_in_one_sentence(
    house: House, file: str, words: str
) -> None:
    (house.inbox.parent / "secret.md").write_text(DOCUMENT)
    await house.choose_folder()
    refused = await house.post(f"{DIGEST}/run", {"file": file.replace("INBOX", str(house.inbox))}, status=400)
    assert refused["error"]["code"] == "usage"
    assert words in refused["error"]["message"]
    assert await house.get("/v1/runs") == []


async def test_a_slow_disk_holds_up_nobody_else(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(definition: AgentDefinition, *, home: Path) -> None:
        asked.set()
        assert answered.wait(10)
        check_folders(definition, home=home)

    monkeypatch.setattr(registry, "check_folders", slow)
    source = (
        "---\nname: Bills\ndescription: Reads bills.\nkind: digest\n"
        f"triggers:\n  - on: file_changed\n    folders: [{house.inbox}]\n"
        f"capabilities:\n  read: [{house.inbox}]\n---\n"
    )
    adding = asyncio.create_task(house.post("/v1/agents", {"source": source, "accept": True}, status=201))
    choosing = asyncio.create_task(house.choose_folder())
    try:
        assert await asyncio.to_thread(asked.wait, 10)
        async with asyncio.timeout(5):
            await house.get("/v1/status")
        assert not adding.done()
        assert not choosing.done()
    finally:
        answered.set()
    assert (await adding)["name"] == "Bills"
    assert (await choosing)["paused"] is False


async def test_run_now_tells_of_files_that_a_gate_is_asked_about(house: House) -> None:
    source = (
        "---\nname: Gated\ndescription: x\nkind: digest\ntriggers:\n"
        f"  - on: file_changed\n    folders: [{house.inbox}]\n    settle_s: 3000\n"
        f"gates:\n  - {{check: memory, query: nobody, at_least: 9}}\ncapabilities:\n  read: [{house.inbox}]\n---\n"
    )
    await house.post("/v1/agents", {"source": source, "accept": True}, status=201)
    (house.inbox / "spring.md").write_text(DOCUMENT)
    os.utime(house.inbox / "spring.md", (1, 1))  # for those who look now it rests
    answer = await house.post("/v1/agents/Gated/run", {})
    assert answer["runs"] == []
    assert answer["message"] == "1 new file; gates and budgets are asked before they are read."


async def test_two_model_files_of_one_name_are_unloaded_each_by_its_own_id(house: House) -> None:
    for path in ("/one/same.gguf", "/two/same.gguf"):
        house.runtime.engines.engine(path)
    ids = [model["id"] for model in await house.get("/v1/engine/models")][-2:]
    assert ids == ["same", "/two/same.gguf"]
    for model_id in ids:
        told = await house.post(f"/v1/engine/models/{quote(model_id, safe='')}/unload")
        assert (told["id"], told["loaded"]) == (model_id, False)


async def test_a_removed_agent_is_gone_and_its_results_stay(house: House) -> None:
    (house.inbox / "spring.md").write_text(DOCUMENT)
    await house.choose_folder()
    [run] = await house.ended()
    assert (await house.http.delete(DIGEST)).status_code == 204
    assert await house.get("/v1/agents") == []
    assert (await house.get(f"/v1/runs/{run['id']}"))["title"] == "Spring"
    assert len(await house.get("/v1/results")) == 1


async def test_an_agent_is_removed_also_when_its_run_ends_that_very_moment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    async with serving(root, ScriptedEngine(first_choice, delay_s=5.0), key) as house:
        (house.inbox / "spring.md").write_text(DOCUMENT)
        await house.choose_folder()
        while not (await house.get("/v1/runs?status=running")):
            await asyncio.sleep(0.05)
        cancel = house.runtime.runs.cancel

        async def too_late(run_id: int) -> Run:
            await cancel(run_id)
            return await cancel(run_id)

        monkeypatch.setattr(house.runtime.runs, "cancel", too_late)
        assert (await house.http.delete(DIGEST)).status_code == 204
        assert await house.get("/v1/agents") == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/runs/99", 404, "not_found"),
        ("POST", "/v1/runs/99/cancel", 404, "not_found"),
        ("GET", "/v1/agents/nobody", 404, "not_found"),
        ("GET", "/v1/conversations/99", 404, "not_found"),
        ("GET", f"/v1/runs/{LAST_ID}", 404, "not_found"),
        ("GET", f"/v1/runs/{LAST_ID + 1}", 422, "invalid_request"),
        ("GET", "/v1/runs/0", 422, "invalid_request"),
        ("POST", f"/v1/runs/{10**20}/cancel", 422, "invalid_request"),
        ("GET", f"/v1/runs?before={10**20}", 422, "invalid_request"),
        ("GET", f"/v1/results?before={10**20}", 422, "invalid_request"),
        ("GET", f"/v1/conversations/{10**20}", 422, "invalid_request"),
        ("DELETE", f"/v1/conversations/{10**20}", 422, "invalid_request"),
        ("GET", "/v1/runs?limit=0", 422, "invalid_request"),
        ("GET", "/v1/runs?status=weird", 422, "invalid_request"),
        ("GET", "/v1/runs/abc", 422, "invalid_request"),
        ("GET", "/nothing", 404, "http"),
    ],
)
async def test_every_error_has_the_same_shape(
    house: House, method: str, path: str, status: int, code: str
) -> None:
    response = await house.http.request(method, path)
    assert response.status_code == status
    problem = contract.ErrorBody.model_validate(response.json()).error
    assert problem.code == code
    assert problem.message.endswith(".")


@pytest.mark.parametrize(
    "body",
    [
        {"text": "hm", "unknown": 1},
        {"text": ""},
        {"text": "hm", "max_tokens": 0},
        {"text": "hm", "max_tokens": 10**9},
        {"text": "hm", "temperature": -1},
        {"text": "hm", "seed": 2**32},
        {"text": "hm", "conversation_id": 10**25},
        {"text": "hm", "conversation_id": 0},
    ],
)
async def test_unknown_and_out_of_range_fields_are_refused(house: House, body: object) -> None:
    problem = await house.post("/v1/chat", body, status=422)
    assert problem["error"]["code"] == "invalid_request"


async def test_chat_streams_and_the_conversation_can_be_read_and_deleted(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.NONE, created=True)
    async with serving(root, ScriptedEngine(["A fire place."]), key) as house:
        async with house.http.stream("POST", "/v1/chat", json={"text": "What is a hearth?"}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = [line async for line in stream.aiter_lines() if line.startswith("data:")]
        events = [json.loads(line.removeprefix("data:")) for line in lines]
        assert [events[0]["type"], events[-1]["type"]] == ["started", "done"]
        [conversation] = await house.get("/v1/conversations")
        shown = await house.get(f"/v1/conversations/{conversation['id']}")
        assert [message["text"] for message in shown["messages"]] == ["What is a hearth?", "A fire place."]
        assert (await house.http.delete(f"/v1/conversations/{conversation['id']}")).status_code == 204
        assert await house.get("/v1/conversations") == []
        assert (await house.get("/v1/status"))["encrypted"] is False


async def chat_events(house: House, body: object) -> list[dict[str, Any]]:
    async with house.http.stream("POST", "/v1/chat", json=body) as stream:
        assert stream.status_code == 200
        lines = [line async for line in stream.aiter_lines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError(CANARY), "internal", "the log names the place"),
        (ModelSetAside("The model is set aside; try it again."), "model_set_aside", "set aside"),
        (DiskFull("The disk is full; make room."), "disk_full", "disk is full"),
    ],
)
async def test_an_answer_that_fails_before_it_began_says_so_in_the_stream(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, words: str
) -> None:
    async def fails(_: str) -> None:
        raise error

    monkeypatch.setattr(house.runtime.store.conversations, "create", fails)
    [event] = await chat_events(house, {"text": "Hm?"})
    assert (event["type"], event["error"]["code"]) == ("failed", code)
    assert words in event["error"]["message"]
    assert CANARY not in json.dumps(event)


async def test_an_unexpected_error_is_logged_by_its_place_and_nothing_is_written_to_stderr(
    house: House, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program, where no test listens
    monkeypatch.setattr(house.runtime.store.runs, "search", fails)
    monkeypatch.setattr(house.runtime.store.conversations, "create", fails)
    handler = open_log(house.paths.runtime_log)
    try:
        problem = await house.get("/v1/runs", status=500)
        assert problem["error"]["code"] == "internal"
        await chat_events(house, {"text": "Hm?"})
    finally:
        close_log(handler)
    text = house.paths.runtime_log.read_text()
    assert "a request failed with an unexpected error" in text
    assert "an answer failed with an unexpected error" in text
    assert "ValueError at test_api.py" in text
    assert CANARY not in text
    assert capfd.readouterr().err == ""


async def test_the_recovery_code_of_a_keyring_key_is_shown_until_somebody_saw_it(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.KEYRING, raw=bytes(range(32)), created=True)
    async with serving(root, ScriptedEngine(first_choice), key) as house:
        assert (await house.get("/v1/status"))["recovery_code_pending"] is True
        code = (await house.get("/v1/recovery-code"))["code"]
        assert len(code) > 50
        await house.post("/v1/recovery-code/shown", status=204)
        assert (await house.get("/v1/status"))["recovery_code_pending"] is False
        assert (await house.get("/v1/recovery-code", status=404))["error"]["code"] == "not_found"


async def test_asking_to_stop_ends_the_runtime_in_order(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.NONE, created=True)
    async with serving(root, ScriptedEngine(first_choice), key) as house:
        await house.post("/v1/stop", status=202)
        async with asyncio.timeout(10):
            while house.paths.socket.exists():
                await asyncio.sleep(0.02)


async def test_the_doctor_looks_at_every_part(house: House) -> None:
    await house.choose_folder()
    report = contract.DoctorReport.model_validate(await house.get("/v1/doctor"))
    names = [check.name for check in report.checks]
    assert names[:5] == ["home", "disk", "database", "backup", "engine"]
    assert names[5:] == ["listener", "folders", "schedule", "agent Document digest"]
    assert report.ok
    house.inbox.rmdir()
    await house.http.post(f"{DIGEST}/run", json={})
    report = contract.DoctorReport.model_validate(await house.get("/v1/doctor"))
    assert not report.ok
    assert str(house.inbox) in report.checks[-1].message


async def check_of_backup(house: House, words: str) -> contract.DoctorCheck:
    """What the doctor says of the backups, once it says `words`."""
    async with asyncio.timeout(20):
        while True:
            report = contract.DoctorReport.model_validate(await house.get("/v1/doctor"))
            [check] = [check for check in report.checks if check.name == "backup"]
            if words in check.message:
                return check
            await asyncio.sleep(0.05)


async def test_a_start_makes_a_backup_unless_there_is_a_fresh_one(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    for _ in range(2):
        async with serving(root, ScriptedEngine(first_choice), key) as house:
            assert (await check_of_backup(house, "is 0 min old")).ok
            assert contract.Status.model_validate(await house.get("/v1/status")).notices == []
    assert len(list(HomePaths(root / "home").backups.iterdir())) == 1


async def test_a_backup_that_can_not_be_made_is_told_once_and_the_rest_works(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32), created=True)
    paths = HomePaths(root / "home")
    paths.root.mkdir(mode=0o700)
    paths.backups.write_text("a file in the place of the folder")
    async with serving(root, ScriptedEngine(first_choice), key) as house:
        check = await check_of_backup(house, "No backup can be written")
        house.runtime._upkeep.look_at_backups()
        await house.choose_folder()
        status = contract.Status.model_validate(await house.get("/v1/status"))
    assert not check.ok
    assert status.notices == [check.message]


def test_the_built_in_agent_is_a_valid_definition() -> None:
    from agents.builtin import builtin_names, builtin_source

    for name in builtin_names():
        definition = parse_definition(builtin_source(name), home=Path("/home/me/hearth"), template=True)
        assert definition.name == "Document digest"


async def test_an_answer_in_the_making_ends_with_a_sentence_when_hearth_is_stopped(root: Path) -> None:
    key = ResolvedKey(kind=KeyKind.NONE, created=True)
    stopped: list[None] = []
    async with serving(root, ScriptedEngine(["word " * 500], delay_s=0.05), key) as house:
        house.runtime._on_stop_asked = lambda: stopped.append(None)
        events = []
        async with house.http.stream("POST", "/v1/chat", json={"text": "Count."}) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    events.append(json.loads(line.removeprefix("data:")))
                    house.runtime.ask_to_stop()
                    house.runtime.ask_to_stop()
        assert events[-1]["type"] == "failed"
        assert events[-1]["error"]["message"].startswith("Hearth was stopped")
        assert stopped == [None]  # whatever asked for the stop, the last resort is armed, and once


async def test_an_agent_whose_model_is_not_there_is_refused(house: House) -> None:
    source = (
        "---\nname: Bills\ndescription: Reads bills.\nkind: digest\nmodel: /nowhere/none.gguf\n"
        f"triggers:\n  - on: file_changed\n    folders: [{house.inbox}]\n"
        f"capabilities:\n  read: [{house.inbox}]\n---\n"
    )
    problem = await house.post("/v1/agents", {"source": source, "accept": True}, status=400)
    assert "/nowhere/none.gguf" in problem["error"]["message"]
    assert len(await house.get("/v1/agents")) == 1
