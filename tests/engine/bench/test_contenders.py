"""The same request for every contender: as llama-server's HTTP, as a line for the Llama class; and processes that end."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from engine.bench.child import Child
from engine.bench.core import BenchFailed, PeerUnavailable
from engine.bench.llama_class import LlamaClass, as_line
from engine.bench.llama_server import LlamaServer, as_http, has_text, read_answer
from engine.bench.other_programs import fixed_work, spinning
from engine.bench.workload import Workload, is_valid_call, tool_call_schema
from tests.conftest import wait_until_gone
from tests.engine.bench.conftest import VALID_CALL


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def count_words(texts: list[str]) -> list[int]:
    return [2 * len(text.split()) for text in texts]


@pytest.fixture
def workload() -> Workload:
    return Workload(count_words)  # type: ignore[arg-type]


def test_a_raw_prompt_is_a_completion_and_a_conversation_a_chat(workload: Workload) -> None:
    path, body = as_http(workload.story(32), stream=False)
    assert (path, body["n_predict"], body["temperature"], body["stream"]) == ("/completion", 32, 0.0, False)
    path, body = as_http(workload.question(), stream=True)
    assert (path, body["max_tokens"], body["stream"]) == ("/v1/chat/completions", 16, True)
    assert [turn["role"] for turn in body["messages"]] == ["user"]


def test_the_schema_goes_along_unchanged(workload: Workload) -> None:
    request = workload.tool_call()
    _, body = as_http(request, stream=False)
    assert body["response_format"]["json_schema"]["schema"] == tool_call_schema()
    assert json.loads(as_line(request))["schema"] == tool_call_schema()


def test_both_forms_of_an_answer_are_read() -> None:
    raw = {"content": "a", "tokens_predicted": 3, "stop_type": "limit"}
    chat = {
        "choices": [{"message": {"content": None}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 4},
    }
    assert [(a.text, a.tokens, a.cut) for a in (read_answer("/completion", raw, 1.0),)] == [("a", 3, True)]
    answer = read_answer("/v1/chat/completions", chat, 1.0)
    assert (answer.text, answer.tokens, answer.cut) == ("", 4, False)


@pytest.mark.parametrize(
    ("line", "brings_text"),
    [
        ('data: {"content":"a"}', True),
        ('data: {"content":""}', False),
        ('data: {"choices":[{"delta":{"role":"assistant","content":null}}]}', False),
        ('data: {"choices":[{"delta":{"content":"a"}}]}', True),
        ("data: [DONE]", False),
        (": still here", False),
        ("", False),
    ],
)
def test_the_first_text_is_told_from_everything_else_in_a_stream(line: str, brings_text: bool) -> None:
    assert has_text(line) is brings_text


def test_a_call_is_valid_only_as_a_whole_and_within_its_bounds() -> None:
    assert is_valid_call(VALID_CALL)
    assert not is_valid_call(VALID_CALL[:-1])
    assert not is_valid_call(VALID_CALL.replace("18", "99"))
    assert not is_valid_call(VALID_CALL.replace('"off"', '"hot"'))
    assert not is_valid_call(VALID_CALL.replace('"tool"', '"x":1,"tool"'))
    assert not is_valid_call(VALID_CALL.replace("18", '"18"'))


async def test_prompts_have_the_wanted_length_and_a_beginning_of_their_own(workload: Workload) -> None:
    documents = [await workload.document(1000, 8) for _ in range(3)]
    for document in documents:
        assert document.prompt is not None
        assert len(document.prompt.split()) * 2 == pytest.approx(1000, rel=0.02)
    assert len({str(document.prompt)[:4] for document in documents}) == 3
    first, second = await workload.agent(200)
    assert first.prefix == second.prefix
    assert first.messages[0] == second.messages[0]
    assert first.messages[1] != second.messages[1]


async def test_two_workloads_ask_the_same() -> None:
    one, other = Workload(count_words), Workload(count_words)  # type: ignore[arg-type]
    assert [one.story(8).prompt for _ in range(5)] == [other.story(8).prompt for _ in range(5)]


async def test_a_peer_that_can_t_start_is_one_sentence(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'error: no such model' >&2; exit 1\n")
    server = LlamaServer(program=program, model=tmp_path / "m", n_ctx=64, n_threads=1, folder=tmp_path)
    with pytest.raises(PeerUnavailable, match="can't be started: Permission denied"):
        await server.open(n_parallel=1)
    program.chmod(0o755)
    with pytest.raises(PeerUnavailable, match="ended at its start: error: no such model; build one with"):
        await server.open(n_parallel=1)
    await server.close()


async def test_a_model_that_the_class_can_t_load_is_one_sentence(tmp_path: Path) -> None:
    peer = LlamaClass(model=tmp_path / "nothing.gguf", n_ctx=64, n_threads=1, folder=tmp_path)
    with pytest.raises(PeerUnavailable, match="process ended: .*nothing.gguf"):
        await peer.open(n_parallel=1)
    await peer.close()


async def test_a_child_that_does_not_want_to_end_is_ended_with_all_its_own(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 100 & echo $!; wait; wait"
    child = await Child.start(["sh", "-c", script], log=tmp_path / "log", talks=True)
    assert child.process.stdout is not None
    grandchild = int(await child.process.stdout.readline())
    assert os.getsid(child.process.pid) != os.getsid(0)  # a Ctrl-C in the terminal does not reach it
    await child.end(patience_s=0.2)
    assert child.process.returncode == -signal.SIGKILL
    assert wait_until_gone(lambda: [grandchild] if is_running(grandchild) else []) == []


async def test_programs_with_fixed_work_do_it_when_told_and_end_with_their_user() -> None:
    async with fixed_work(2, 0.05) as run:
        assert await run() > 0.0
        assert await run() > 0.0


async def test_a_spinning_program_spins_and_ends() -> None:
    before = {child.pid for child in psutil.Process().children()}
    async with spinning(1):
        (spinner,) = [child for child in psutil.Process().children() if child.pid not in before]
        assert spinner.cpu_times().user > 0.0
    assert not spinner.is_running()


async def test_a_peer_that_ends_in_the_middle_is_a_sentence(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(
        f"#!{sys.executable}\n"
        "import http.server, os, sys\n"
        "class Peer(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'[]')\n"
        "    def do_POST(self):\n"
        "        os._exit(1)\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\n"
        "http.server.HTTPServer(('127.0.0.1', port), Peer).serve_forever()\n"
    )
    program.chmod(0o755)
    server = LlamaServer(program=program, model=tmp_path / "m", n_ctx=64, n_threads=1, folder=tmp_path)
    try:
        await server.open(n_parallel=1)
        await server.settle()
        with pytest.raises(BenchFailed, match="llama-server can't be asked"):
            await server.answer(Workload(count_words).story(4))  # type: ignore[arg-type]
    finally:
        await server.close()
