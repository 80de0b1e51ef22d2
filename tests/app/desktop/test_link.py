"""The line to the runtime: finds it, starts it, follows its events and mends itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from PySide6.QtCore import QTimer
from pytestqt.qtbot import QtBot

from agents.contract import ChatRequest, ResultReady, RunChanged, RunInfo
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.starter import StartFailed, failure_of
from app.desktop.link.states import LinkState
from app.desktop.link.transport import HttpClient, Trouble
from app.desktop.models.world import EVERYTHING
from app.launch import LaunchFailed, LaunchOptions
from tests.app.desktop.desk import connect, wait_for_state
from tests.app.desktop.fake_runtime import FakeRuntime, a_result, a_run, an_agent

MakeLink = Callable[..., RuntimeLink]


def states_of(link: RuntimeLink) -> list[LinkState]:
    seen: list[LinkState] = []
    link.state_changed.connect(seen.append)
    return seen


# --- finding and loading


def test_a_runtime_that_runs_is_found_and_its_state_read(
    qtbot: QtBot, runtime: FakeRuntime, make_link: MakeLink
) -> None:
    runtime.agents = {"Document digest": an_agent()}
    runtime.runs = {1: a_run(1), 2: a_run(2, status="pending")}
    runtime.results = [a_result(1)]
    link, changes = make_link(), []
    link.world_changed.connect(changes.append)
    connect(qtbot, link)
    assert link.world.status == runtime.status
    assert list(link.world.agents) == ["Document digest"]
    assert sorted(link.world.runs) == [1, 2]
    assert [result.id for result in link.world.results] == [1]
    assert changes == [EVERYTHING]


def test_events_keep_the_world_true(qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink) -> None:
    events: list[Any] = []
    link.happened.connect(events.append)
    runtime.emit(RunChanged(run=a_run(5, status="running")), ResultReady(result=a_result(5), notify=True))
    qtbot.waitUntil(lambda: len(events) == 2)
    assert [run.id for run in link.world.running] == [5]
    assert [result.id for result in link.world.results] == [5]


def test_an_event_that_comes_while_the_state_is_read_is_not_lost(
    qtbot: QtBot, runtime: FakeRuntime, make_link: MakeLink
) -> None:
    """The list of runs was written before the run ended, and arrives after the event that says so."""
    runtime.runs = {1: a_run(1, status="running")}
    link = make_link()
    loaded = link._loaded

    def late(*arguments: Any) -> None:
        runtime.emit(RunChanged(run=a_run(1, status="succeeded")))
        qtbot.waitUntil(lambda: bool(link._held))
        loaded(*arguments)

    link._loaded = late  # type: ignore[method-assign]
    connect(qtbot, link)
    assert link.world.runs[1].status == "succeeded"


def test_an_event_of_a_newer_runtime_is_skipped(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink
) -> None:
    runtime._send('{"id": 1, "at": "2026-11-20T14:00:00Z", "data": {"type": "dance"}}')
    runtime._send("not json at all")
    runtime.emit(RunChanged(run=a_run(1)))
    qtbot.waitUntil(lambda: 1 in link.world.runs)
    assert link.is_connected


# --- starting


def test_when_none_runs_one_is_started(qtbot: QtBot, home: Any, make_link: MakeLink) -> None:
    fake, main_thread, where = FakeRuntime(home), threading.current_thread(), []

    def start(_home: Any, _options: LaunchOptions, _cancelled: Any) -> None:
        where.append(threading.current_thread())
        fake.start()

    link = make_link(start)
    states = states_of(link)
    connect(qtbot, link)
    assert states == [LinkState.CONNECTING, LinkState.STARTING, LinkState.CONNECTED]
    assert where
    assert where[0] is not main_thread
    fake.stop()


def test_a_start_that_fails_says_why_and_can_be_tried_again(
    qtbot: QtBot, home: Any, make_link: MakeLink
) -> None:
    fake = FakeRuntime(home)
    sentences = ["The home directory can't be written; choose another with --home."]

    def start(*_arguments: Any) -> None:
        if sentences:
            raise LaunchFailed(sentences.pop(), 2)
        fake.start()

    link = make_link(start)
    link.open()
    wait_for_state(qtbot, link, LinkState.FAILED)
    assert link.sentence == "The home directory can't be written; choose another with --home."
    link.retry()
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    fake.stop()


def test_a_bug_while_starting_is_a_sentence_too(qtbot: QtBot, make_link: MakeLink) -> None:
    def start(*_arguments: Any) -> None:
        raise ZeroDivisionError

    link = make_link(start)
    link.open()
    wait_for_state(qtbot, link, LinkState.FAILED)
    assert link.sentence == "Hearth's background part can't be started (ZeroDivisionError)."


def test_a_missing_key_is_asked_for_and_used(qtbot: QtBot, home: Any, make_link: MakeLink) -> None:
    fake, used = FakeRuntime(home), []

    def start(_home: Any, options: LaunchOptions, _cancelled: Any) -> None:
        used.append(options)
        if options == LaunchOptions():
            raise LaunchFailed("There is no keyring to keep this home's key in; choose --key-file FILE.", 2)
        fake.start()

    link = make_link(start)
    link.open()
    wait_for_state(qtbot, link, LinkState.NEEDS_KEY)
    assert link.sentence == "There is no keyring to keep this home's key in."
    link.choose_key(LaunchOptions(passphrase="correct horse"))
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    assert used[-1].passphrase == "correct horse"
    fake.stop()


@pytest.mark.parametrize(
    ("sentence", "exit_code", "options", "needs_key"),
    [
        ("This home needs its passphrase; start with --passphrase.", 2, LaunchOptions(), True),
        ("The home directory /home/keyes can't be written.", 2, LaunchOptions(), False),
        ("The key does not open the database; check it.", 1, LaunchOptions(passphrase="x"), True),
        ("The key does not open the database; check it.", 1, LaunchOptions(), False),
        ("The disk is full.", 1, LaunchOptions(passphrase="x"), False),
    ],
)
def test_only_trouble_with_the_key_asks_for_a_key(
    sentence: str, exit_code: int, options: LaunchOptions, needs_key: bool
) -> None:
    failure = failure_of(LaunchFailed(sentence, exit_code), options)
    assert failure == StartFailed(
        sentence=sentence.split(";", maxsplit=1)[0] + "." if needs_key else sentence, needs_key=needs_key
    )


# --- going away


def test_a_runtime_that_died_is_started_again_and_the_state_restored(
    qtbot: QtBot, home: Any, make_link: MakeLink
) -> None:
    first, second = FakeRuntime(home), FakeRuntime(home)
    second.runs = {7: a_run(7)}
    fakes = [first, second]
    link = make_link(lambda *_arguments: fakes.pop(0).start())
    connect(qtbot, link)
    states = states_of(link)
    first.stop()
    wait_for_state(qtbot, link, LinkState.RECONNECTING)
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    assert states == [LinkState.RECONNECTING, LinkState.CONNECTED]
    assert list(link.world.runs) == [7]
    second.stop()


def test_a_runtime_that_keeps_dying_is_left_alone(qtbot: QtBot, home: Any, make_link: MakeLink) -> None:
    starts = []
    link = make_link(lambda *_arguments: starts.append(1))
    link.open()
    wait_for_state(qtbot, link, LinkState.FAILED)
    assert len(starts) == 4
    assert "keeps ending" in link.sentence


def test_a_runtime_that_was_stopped_in_order_stays_stopped(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink
) -> None:
    runtime.say_stopping()
    wait_for_state(qtbot, link, LinkState.STOPPED)
    runtime.stop()
    qtbot.wait(100)
    assert link.state is LinkState.STOPPED  # make_link's start would have failed the test


def test_a_stopped_runtime_is_started_when_the_user_asks(
    qtbot: QtBot, home: Any, make_link: MakeLink
) -> None:
    first, second = FakeRuntime(home), FakeRuntime(home)
    second.status = second.status.model_copy(update={"pid": 99_999})
    fakes = [first, second]
    link = make_link(lambda *_arguments: fakes.pop(0).start())
    connect(qtbot, link)
    first.say_stopping()
    wait_for_state(qtbot, link, LinkState.STOPPED)
    first.stop()
    link.retry()
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    second.stop()


def test_another_version_is_one_sentence(qtbot: QtBot, runtime: FakeRuntime, make_link: MakeLink) -> None:
    runtime.overrides["/v1/status"] = b'{"api_version": 2, "version": "9.1", "shape": "unknown"}'
    link = make_link()
    link.open()
    wait_for_state(qtbot, link, LinkState.FAILED)
    assert link.sentence == (
        "The running background part of Hearth is another version (9.1); run `hearth stop`, then open Hearth again."
    )


def test_a_home_whose_path_is_too_long_is_one_sentence(qtbot: QtBot, tmp_path: Any) -> None:
    from agents.paths import HomePaths
    from app.desktop.link.starter import RuntimeStarter

    home = tmp_path / ("x" * 120)
    link = RuntimeLink(HomePaths(home), RuntimeStarter(home))
    link.open()
    assert link.state is LinkState.FAILED
    assert "too long" in link.sentence
    link.close()


# --- requests


def test_a_refusal_is_the_runtimes_own_sentence(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink
) -> None:
    runtime.refusals["POST /v1/runs/7/cancel"] = (409, "conflict", "The run has ended already.")
    troubles: list[Trouble] = []
    link.api.cancel_run(7, lambda _run: pytest.fail("it was refused"), troubles.append)
    qtbot.waitUntil(lambda: bool(troubles))
    assert (troubles[0].code, troubles[0].message) == ("conflict", "The run has ended already.")


def test_an_answer_that_is_not_the_contracts_is_a_sentence(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink
) -> None:
    runtime.overrides["/v1/agents"] = b"<html>"
    troubles: list[Trouble] = []
    link.api.agents(lambda _agents: pytest.fail("it was no list"), troubles.append)
    qtbot.waitUntil(lambda: bool(troubles))
    assert troubles[0].code == "not_understood"


def test_a_call_that_nobody_answers_is_unreachable(qtbot: QtBot, home: Any) -> None:
    http = HttpClient(home / "nobody.sock")
    troubles: list[Trouble] = []
    http.call("GET", "/v1/agents", read=bytes, done=lambda _body: None, failed=troubles.append)
    qtbot.waitUntil(lambda: bool(troubles))
    assert troubles[0].unreachable
    http.close()


def test_many_failed_connections_do_not_use_up_the_line(qtbot: QtBot, home: Any) -> None:
    """Qt's connections to local sockets wear out by failing: six would be enough."""
    http, troubles, answers = HttpClient(home / "hearth.sock"), [], []
    for _ in range(10):
        http.call("GET", "/v1/status", read=bytes, done=answers.append, failed=troubles.append)
        with qtbot.waitCallback() as called:
            QTimer.singleShot(20, called)
    assert len(troubles) == 10
    runtime = FakeRuntime(home)
    runtime.start()
    for _ in range(5):
        http.call("GET", "/v1/status", read=bytes, done=answers.append, failed=troubles.append)
    qtbot.waitUntil(lambda: len(answers) == 5)
    http.close()
    runtime.stop()


def test_a_closed_link_calls_nobody_back(qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink) -> None:
    called: list[Any] = []
    link.api.agents(called.append, called.append)
    link.close()
    link.api.agents(called.append, called.append)
    qtbot.wait(50)
    assert called == []


def test_names_travel_in_addresses_unharmed(qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink) -> None:
    name = "Räume & 50 % ?#"
    runtime.agents = {name: an_agent(name)}
    paused: list[Any] = []
    link.api.set_paused(name, True, paused.append, lambda trouble: pytest.fail(trouble.message))
    qtbot.waitUntil(lambda: bool(paused))
    assert runtime.agents[name].paused


def test_a_run_is_read_with_its_steps(qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink) -> None:
    runtime.runs = {3: a_run(3)}
    runs: list[RunInfo] = []
    link.api.run(3, runs.append, lambda trouble: pytest.fail(trouble.message))
    qtbot.waitUntil(lambda: bool(runs))
    assert runs[0].id == 3


def test_closing_a_chat_stream_stops_the_generation(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink
) -> None:
    runtime.chat_script = [30.0]
    stream = link.api.chat(ChatRequest(text="hello"))
    with qtbot.waitSignal(stream.opened):
        pass
    with qtbot.waitSignal(stream.finished) as ended:
        stream.close()
    assert ended.args == [None]
    qtbot.waitUntil(lambda: runtime.chats_cut == 1)
