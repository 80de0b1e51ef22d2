"""The routes about when agents work: due times ahead and past, hooks, the switch, search and doing runs again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents import contract
from agents.errors import DiskFull
from tests.agents.api.test_api import DIGEST, House, house, root
from tests.agents.runs.test_manager import DOCUMENT

__all__ = ["house", "root"]  # fixtures

MORNING = """\
---
name: Morning page
description: Writes each morning.
kind: write
triggers:
  - on: cron
    schedule: "30 2 * * *"
    zone: Europe/Berlin
  - on: webhook
    hook: build
gates:
  - check: ac_power
misfire: {policy: skip}
---

Write the page.
"""


def agent(name: str, trigger: str) -> str:
    return f"---\nname: {name}\ndescription: x\nkind: write\ntriggers:\n  - {trigger}\n---\n\nWrite.\n"


async def added(house: House, source: str, status: int = 201) -> Any:
    return await house.post("/v1/agents", {"source": source}, status=status)


async def called(house: House) -> list[dict[str, Any]]:
    """The due times that hooks made."""
    return [each for each in await house.get("/v1/occurrences") if each["trigger"] == "webhook"]


async def test_an_agents_triggers_gates_and_policies_are_told_in_words(house: House) -> None:
    detail = await added(house, MORNING)
    assert detail["triggers"] == [
        "every day at 02:30 (Europe/Berlin)",
        "when the hook “build” is called",
    ]
    assert detail["gates"] == ["only while the computer is plugged in"]
    assert detail["policies"] == ["a time that was missed is not caught up on"]
    assert (detail["woken"], detail["free"]) == (0, 0)


async def test_the_next_due_times_are_told_with_what_daylight_saving_does_to_them(house: House) -> None:
    await added(house, MORNING)
    path = "/v1/agents/Morning%20page/next?start=2027-03-27T00:00:00Z&end=2027-03-29T12:00:00Z"
    times = await house.get(path)
    assert [each["at"] for each in times] == [
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:00:00Z",
        "2027-03-29T00:30:00Z",
    ]
    assert [bool(each["note"]) for each in times] == [False, True, False]
    assert times[0]["there"] == "Saturday 27 March 2027 at 02:30"
    assert times[0]["zone"] != "Europe/Berlin"
    assert len(await house.get("/v1/agents/Morning%20page/next?n=4")) == 4


async def test_an_agent_without_a_timed_trigger_has_no_next_due_times(house: House) -> None:
    problem = await house.get(f"{DIGEST}/next", status=400)
    assert "no timed trigger" in problem["error"]["message"]
    assert (await house.get("/v1/agents/nobody/next", status=404))["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "query",
    [
        "n=0",
        "n=10001",
        "start=tomorrow",
        "start=2027-03-27T00:00:00",
        "start=0001-01-01T00:00:00%2B14:00",
        "start=9999-12-31T23:59:00-14:00",
    ],
)
async def test_questions_about_due_times_have_bounds(house: House, query: str) -> None:
    await added(house, MORNING)
    await house.get(f"/v1/agents/Morning%20page/next?{query}", status=422)


async def test_a_hooks_call_becomes_one_due_time_however_often_it_is_repeated(house: House) -> None:
    await added(house, MORNING)
    key = {"Idempotency-Key": "build-17"}
    first = await house.http.post("/v1/hooks/build", json={"commit": "abc"}, headers=key)
    again = await house.http.post("/v1/hooks/build", json={"commit": "abc"}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    [row] = await called(house)
    assert row["id"] == first.json()["occurrence_id"] == again.json()["occurrence_id"]
    assert (row["agent"], row["n_due"]) == ("Morning page", 1)
    detail = await house.get(f"/v1/occurrences/{row['id']}")
    assert detail["id"] == row["id"]


async def test_a_call_outside_an_agents_hours_waits_and_the_agent_says_until_when(house: House) -> None:
    in_two_days = f"{datetime.now(UTC) + timedelta(days=2):%a}".lower()
    hours = f"{{check: hours, from: '00:00', to: '23:59', zone: UTC, days: [{in_two_days}]}}"
    await added(house, MORNING.replace("check: ac_power", hours))
    await house.post("/v1/hooks/build", {"commit": "abc"}, status=202)
    async with asyncio.timeout(10):
        while (waits := (await house.get("/v1/agents/Morning%20page"))["waits"]) is None:
            await asyncio.sleep(0.02)
    assert waits.startswith("Waits until ")
    [row] = await called(house)
    assert (row["status"], row["reason"]) == ("scheduled", waits)


async def test_a_hooks_run_tells_the_hook_and_what_was_brought(house: House) -> None:
    await added(house, agent("Builder", "{on: webhook, hook: build}"))
    await house.post("/v1/hooks/build", {"commit": "abc"}, status=202)
    async with asyncio.timeout(10):
        while not (runs := await house.get("/v1/runs?trigger=webhook")):
            await asyncio.sleep(0.02)
    assert runs[0]["brought"] == '{"commit": "abc"}'
    shown = await house.get(f"/v1/runs/{runs[0]['id']}")
    assert shown["trigger_words"] == "when the hook “build” is called"


async def test_calls_without_a_key_are_each_their_own(house: House) -> None:
    await added(house, MORNING)
    ids = {(await house.post("/v1/hooks/build", None, status=202))["occurrence_id"] for _ in range(3)}
    assert len(ids) == 3
    assert None not in ids


@pytest.mark.parametrize(
    ("hook", "body", "status", "words"),
    [
        ("nobody", b"{}", 404, "No agent waits for a hook named"),
        ("build", b"{", 400, "The body is not JSON"),
        ("build", b"NaN", 400, "The body is not JSON"),
        ("build", b"[" * 60_000, 400, "The body is not JSON"),
        ("build", b'{"load": 1e999}', 400, "The body is not JSON"),
        ("build", b'"\\ud800"', 400, "The body is not JSON"),
        ("build", b"[" * 900 + b"]" * 900, 400, "100 levels of JSON at most"),
        ("build", b'"' + b"x" * 70_000 + b'"', 400, "65,536 bytes at most"),
    ],
)
async def test_what_a_hook_can_not_take_is_refused_in_one_sentence(
    house: House, hook: str, body: bytes, status: int, words: str
) -> None:
    await added(house, MORNING)
    answer = await house.http.post(
        f"/v1/hooks/{hook}", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert await called(house) == []


async def test_a_paused_agents_hook_says_so(house: House) -> None:
    await added(house, MORNING)
    await house.post("/v1/agents/Morning%20page/pause")
    problem = await house.post("/v1/hooks/build", {}, status=409)
    assert "is paused; resume it first" in problem["error"]["message"]


async def test_a_hook_belongs_to_one_agent(house: House) -> None:
    await added(house, MORNING)
    problem = await added(house, agent("Second", "{on: webhook, hook: build}"), status=409)
    assert "wakes “Morning page” already" in problem["error"]["message"]


async def test_agents_that_would_wake_each_other_forever_are_refused(house: House) -> None:
    await added(house, agent("One", "{on: result, agent: Two}"))
    problem = await added(house, agent("Two", "{on: result, agent: One}"), status=400)
    assert problem["error"]["message"].startswith(
        "Line 6: Agents would start one another in a circle: “One” →"
    )
    assert [each["name"] for each in await house.get("/v1/agents")] == ["Document digest", "One"]


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ("{on: once, at: 2020-01-01 09:00, zone: UTC}", "“Late” would never be due"),
        ("{on: result, agent: late}", "“Late” would start on its own results, without end"),
    ],
)
async def test_a_trigger_that_can_not_be_is_refused_with_its_line(
    house: House, trigger: str, words: str
) -> None:
    source = agent("Late", "{on: start}\n  - " + trigger)
    problem = await added(house, source, status=400)
    assert problem["error"]["message"].startswith(f"Line 7: {words}")


async def test_an_agent_that_nothing_starts_says_so_until_something_can(house: House) -> None:
    page = await added(house, agent("Page", "{on: result, agent: Nobody}"))
    assert page["notes"] == [
        "There is no agent named “Nobody”; until there is one, its results can't start this one."
    ]
    nobody = await added(house, agent("nobody", "{on: start}").replace("\n  - {on: start}", " []"))
    assert nobody["notes"] == ["It runs only by hand."]
    assert (await house.get("/v1/agents/Page"))["notes"] == []


async def test_the_agent_that_ships_says_what_it_waits_for(house: House) -> None:
    detail = await house.get(DIGEST)
    assert detail["triggers"] == [
        "when a file (*.txt, *.md, *.markdown, *.pdf) changes in folders that you choose"
    ]


async def test_the_switch_stops_all_agents_until_it_is_used_again(house: House) -> None:
    assert (await house.get("/v1/status"))["agents_stopped"] is None
    stopped = await house.post("/v1/agents-switch", {"stopped": True})
    assert (stopped["stopped"], stopped["reason"]) == (True, "All agents are stopped.")
    assert (await house.get("/v1/status"))["agents_stopped"] == "All agents are stopped."
    assert all(agent["stopped"] for agent in await house.get("/v1/agents"))
    (house.inbox / "spring.md").write_text(DOCUMENT)
    await house.choose_folder()
    file = str(house.inbox / "spring.md")
    started = await house.post("/v1/agents/Document digest/run", {"file": file})
    assert "is waiting to start: All agents are stopped." in started["message"]
    await asyncio.sleep(0.3)
    assert {run["status"] for run in await house.get("/v1/runs")} <= {"pending"}
    assert await house.post("/v1/agents-switch", {"stopped": False}) == {
        "stopped": False,
        "reason": None,
        "at": None,
        "note": None,
    }
    [run] = await house.ended()
    assert run["status"] == "succeeded"


async def test_runs_are_found_by_words_trigger_and_time(house: House) -> None:
    (house.inbox / "spring.md").write_text(DOCUMENT)
    await house.choose_folder()
    [run] = await house.ended()
    assert [each["id"] for each in await house.get("/v1/runs?search=spring")] == [run["id"]]
    assert await house.get("/v1/runs?search=nothing-has-this") == []
    assert await house.get("/v1/runs?trigger=cron") == []
    assert len(await house.get("/v1/runs?trigger=file_changed")) == 1
    assert await house.get("/v1/runs?until=2020-01-01T00:00:00Z") == []
    found = await house.get("/v1/timeline?since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z")
    assert [each["id"] for each in found] == [run["id"]]
    await house.get("/v1/timeline", status=400)
    await house.get("/v1/timeline?since=0001-01-01T00:00:00Z&until=2100-01-01T00:00:00Z", status=422)


async def test_a_run_tells_its_due_time_and_can_be_done_again(house: House) -> None:
    (house.inbox / "spring.md").write_text(DOCUMENT)
    await house.choose_folder()
    [run] = await house.ended()
    detail = await house.get(f"/v1/runs/{run['id']}")
    assert detail["occurrence"]["run_id"] == run["id"]
    assert detail["occurrence"]["status"] == "succeeded"
    assert {step["route"] for step in detail["steps"] if step["kind"] == "model"} == {"local"}
    retry = await house.post(f"/v1/runs/{run['id']}/retry", status=201)
    assert retry["retry_of"] == run["id"]
    replay = await house.post(f"/v1/runs/{run['id']}/replay", {}, status=201)
    assert replay["replay_of"] == run["id"]
    ended = {each["id"]: each["status"] for each in await house.ended(3)}
    assert ended[retry["id"]] == ended[replay["id"]] == "succeeded"
    problem = await house.post(f"/v1/runs/{run['id']}/replay", {"model": "/nowhere/m.gguf"}, status=400)
    assert "no model file /nowhere/m.gguf" in problem["error"]["message"]
    problem = await house.post(f"/v1/runs/{run['id']}/replay", {"revision": 99}, status=404)
    assert "has no revision 99" in problem["error"]["message"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            "/bin/sh, -c, 'true'",
            "Line 8: /bin/sh can run any other program, so it can't be granted; grant another command.",
        ),
        ("/no/such/program", "Line 8: /no/such/program can't be run (No such file or directory)"),
    ],
)
async def test_a_command_that_can_not_be_granted_is_refused_before_anybody_says_yes(
    house: House, program: str, words: str
) -> None:
    source = agent("Commander", "{on: start}").replace(
        "---\n\nW", f"capabilities:\n  commands: [[{program}]]\n---\n\nW"
    )
    problem = await added(house, source, status=400)
    assert words in problem["error"]["message"]


async def test_a_call_that_waits_while_all_agents_are_stopped_is_told_and_runs_once_they_go_on(
    house: House,
) -> None:
    await house.post("/v1/agents-switch", {"stopped": True})
    await added(house, agent("Called", "{on: webhook, hook: call}"))
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen() -> None:
        async with house.http.stream("GET", "/v1/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    await told.put(json.loads(line[5:])["data"])

    listening = asyncio.create_task(listen())
    try:
        await asyncio.sleep(0.2)
        await house.post("/v1/hooks/call", {}, status=202)
        async with asyncio.timeout(20):
            while (event := await told.get())["type"] != "occurrence":
                pass
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    assert (event["occurrence"]["status"], event["occurrence"]["agent"]) == ("scheduled", "Called")
    assert event["occurrence"]["reason"] == "Waits: All agents are stopped."
    [called] = [each for each in await house.get("/v1/agents") if each["name"] == "Called"]
    assert called["waits"] == "Waits: All agents are stopped."
    await house.post("/v1/agents-switch", {"stopped": False})
    async with asyncio.timeout(20):
        while not await house.get("/v1/runs?agent=Called"):
            await asyncio.sleep(0.05)


async def test_folders_that_would_close_a_circle_of_agents_are_not_chosen(house: House) -> None:
    folders = {name: house.inbox.parent / name for name in ("one", "two", "three")}
    for folder in folders.values():
        folder.mkdir()

    def handing_on(name: str, reads: str, writes: str) -> dict[str, Any]:
        read, write = folders[reads], folders[writes]
        source = (
            f"---\nname: {name}\ndescription: x\nkind: write\ntriggers:\n  - on: file_changed\n    folders: [{read}]\n"
            f"capabilities:\n  read: [{read}]\n  write: [{write}]\noutput: {{folder: {write}}}\n---\n\nWrite.\n"
        )
        return {"source": source, "accept": True}

    await house.post("/v1/agents", handing_on("First", "one", "two"), status=201)
    await house.post("/v1/agents", handing_on("Second", "three", "one"), status=201)
    answer = await house.http.put("/v1/agents/Second/folders", json={"folders": [str(folders["two"])]})
    assert answer.status_code == 400
    assert "in a circle" in answer.json()["error"]["message"]


async def test_a_stop_that_can_not_be_written_down_holds_and_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise DiskFull("The disk is full.")

    told: list[contract.EventData] = []
    monkeypatch.setattr(house.runtime.store.meta, "set", full)
    monkeypatch.setattr(house.runtime.bus, "publish", told.append)
    stopped = await house.post("/v1/agents-switch", {"stopped": True})
    assert stopped["stopped"]
    assert "only until Hearth ends" in stopped["note"]
    assert (await house.get("/v1/status"))["agents_stopped"] == "All agents are stopped."
    resumed = await house.post("/v1/agents-switch", {"stopped": False})
    assert not resumed["stopped"]
    assert "stopped again when Hearth starts anew" in resumed["note"]
    assert (await house.get("/v1/status"))["agents_stopped"] is None
    switches = [event.switch.stopped for event in told if isinstance(event, contract.SwitchChanged)]
    assert switches == [True, False]
