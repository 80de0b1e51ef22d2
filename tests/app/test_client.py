"""The client's own behaviour on the wire; what commands make of it is tested with them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agents.contract import ChatDelta, ChatDone, ChatRequest, Notice, NoticeLevel
from agents.home import HomeLock
from agents.paths import HomePaths
from app.client import (
    ClientError,
    NotAnswering,
    NotRunning,
    ProblemReported,
    RuntimeClient,
    RuntimeUnreachable,
)
from tests.app.cli.scripted import ScriptedRuntime
from tests.app.desktop.fake_runtime import an_agent, an_event


@pytest.fixture
def fake(short_dir: Path) -> Iterator[ScriptedRuntime]:
    runtime = ScriptedRuntime(short_dir)
    runtime.start()
    yield runtime
    runtime.stop()


@pytest.fixture
def client(fake: ScriptedRuntime) -> Iterator[RuntimeClient]:
    with RuntimeClient(fake.paths) as client:
        yield client


@contextmanager
def answering(home: Path, answer: bytes | None) -> Iterator[HomePaths]:
    """A listener that sends the same bytes to everybody and hangs up; None: says nothing while it lives."""
    paths = HomePaths(home)
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(paths.socket))
        server.listen()
        server.settimeout(0.05)

        def serve() -> None:
            held = []
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                held.append(connection)
                if answer is not None:
                    connection.settimeout(1.0)
                    if connection.recv(65_536):
                        connection.sendall(answer)
                    connection.close()
            for connection in held:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield paths
        finally:
            done.set()
            thread.join()


def test_names_are_quoted_in_paths(fake: ScriptedRuntime, client: RuntimeClient) -> None:
    fake.agents["what? a#b%"] = an_agent("what? a#b%")
    assert client.agent("what? a#b%").name == "what? a#b%"


def test_a_problem_carries_its_code_status_and_exit_code(
    fake: ScriptedRuntime, client: RuntimeClient
) -> None:
    for status, code, exit_code in (
        (400, "usage", 2),
        (422, "invalid_request", 2),
        (409, "needs_consent", 2),
        (404, "not_found", 1),
        (409, "conflict", 1),
        (500, "internal", 1),
        (507, "disk_full", 1),
    ):
        fake.refusals["GET /v1/agents"] = (status, code, "It can't be done.")
        with pytest.raises(ProblemReported) as caught:
            client.agents()
        assert (caught.value.http_status, caught.value.problem.code) == (status, code)
        assert caught.value.exit_code == exit_code


def test_a_runtime_that_says_nothing_is_unreachable_but_not_absent(short_dir: Path) -> None:
    with (
        answering(short_dir, None) as paths,
        RuntimeClient(paths, answer_timeout_s=0.2) as client,
        pytest.raises(RuntimeUnreachable, match="does not answer") as caught,
    ):
        client.status()
    assert not isinstance(caught.value, NotRunning)
    assert "hearth stop" not in str(caught.value)  # which would not be heard either


def test_a_runtime_that_says_nothing_is_told_with_the_process_that_holds_the_home(short_dir: Path) -> None:
    with (
        HomeLock(HomePaths(short_dir)),
        answering(short_dir, None) as paths,
        RuntimeClient(paths, answer_timeout_s=0.2) as client,
        pytest.raises(NotAnswering, match=f"`kill -9 {os.getpid()}`"),
    ):
        client.status()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"nonsense\r\n\r\n"]
)
def test_an_answer_that_breaks_off_is_one_sentence(short_dir: Path, answer: bytes) -> None:
    with (
        answering(short_dir, answer) as paths,
        RuntimeClient(paths) as client,
        pytest.raises(RuntimeUnreachable, match="ended in the middle of an answer"),
    ):
        client.agents()


def test_a_socket_that_is_not_one_is_one_sentence(short_dir: Path) -> None:
    paths = HomePaths(short_dir)
    paths.socket.touch()
    with RuntimeClient(paths) as client, pytest.raises(ClientError) as caught:
        client.status()
    assert caught.value.exit_code == 3


def test_events_come_in_order_and_unknown_ones_are_passed_over(
    fake: ScriptedRuntime, client: RuntimeClient
) -> None:
    notices = [Notice(level=NoticeLevel.INFO, text=str(number)) for number in range(3)]
    unknown = an_event(notices[0]).model_dump_json().replace('"notice"', '"from_the_future"')
    fake.script(notices[0], unknown, "not even JSON", *notices[1:])
    with client.events() as events:
        assert [event.data for event in events] == notices


def test_a_silent_stream_of_events_ends_after_the_time_it_was_given(
    fake: ScriptedRuntime, client: RuntimeClient
) -> None:
    with client.events(silence_s=0.1) as events:
        assert list(events) == []


def test_events_of_a_runtime_that_goes_away_end(fake: ScriptedRuntime, client: RuntimeClient) -> None:
    with client.events() as events:
        fake.wait_for_listener()
        fake.stop()
        assert list(events) == []


def test_closing_a_chat_early_ends_it_for_the_runtime(fake: ScriptedRuntime, client: RuntimeClient) -> None:
    fake.chat_script = [ChatDelta(text="a"), 30.0, ChatDelta(text="b")]
    with closing(client.chat(ChatRequest(text="hello"))) as events:
        assert next(events) == ChatDelta(text="a")
    for _ in range(300):
        if fake.chats_cut:
            break
        threading.Event().wait(0.01)
    assert fake.chats_cut == 1


def test_a_chat_ends_with_its_last_event_even_if_the_stream_stays_open(
    fake: ScriptedRuntime, client: RuntimeClient
) -> None:
    done = ChatDone(text="a", finish_reason="stop", prompt_tokens=1, completion_tokens=1)
    fake.chat_script = [ChatDelta(text="a"), done, 30.0]
    assert list(client.chat(ChatRequest(text="hello"))) == [ChatDelta(text="a"), done]


def test_a_chat_that_is_refused_is_the_runtimes_sentence(
    fake: ScriptedRuntime, client: RuntimeClient
) -> None:
    fake.refusals["POST /v1/chat"] = (503, "set_aside", "The model was set aside.")
    with pytest.raises(ProblemReported, match="The model was set aside"):
        list(client.chat(ChatRequest(text="hello")))
