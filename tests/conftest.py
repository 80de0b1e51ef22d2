"""Guards around every test: no network but the loopback, and nothing left running behind."""

import asyncio
import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psutil
import pytest

# How long a thread or a child may take to end by itself after the test has returned.
GRACE_S = 3.0


def is_loopback(address: object) -> bool:
    """Whether a socket address stays on this machine: a Unix socket, a loopback IP, or the name localhost."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any attempt of this process to reach another machine."""

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: object) -> Any:
            if self.family != socket.AF_UNIX and not is_loopback(address):
                pytest.fail(
                    f"the test tried to connect to {address}: tests may use only the loopback", pytrace=True
                )
            return original(self, address)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


def wait_until_gone(leftovers: Callable[[], list[Any]]) -> list[Any]:
    """Give what ends by itself a moment; return what is left then."""
    deadline = time.monotonic() + GRACE_S
    while (left := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.fixture(autouse=True)
def leaves_no_thread() -> Iterator[None]:
    """Fail a test that leaves a thread of its own behind."""
    before = set(threading.enumerate())
    yield
    left = wait_until_gone(lambda: [thread for thread in threading.enumerate() if thread not in before])
    if left:
        pytest.fail(f"threads left behind: {', '.join(thread.name for thread in left)}", pytrace=False)


@pytest.fixture(autouse=True)
def leaves_no_child() -> Iterator[None]:
    """Fail a test that leaves a child process behind, and end that process."""
    me = psutil.Process(os.getpid())
    before = {child.pid for child in me.children(recursive=True)}

    def new_children() -> list[psutil.Process]:
        return [child for child in me.children(recursive=True) if child.pid not in before]

    yield
    left = wait_until_gone(new_children)
    described = []
    for child in left:
        with contextlib.suppress(psutil.Error):
            described.append(f"{child.pid} {' '.join(child.cmdline())[:120]} ({child.status()})")
            child.kill()
    if described:
        pytest.fail(f"processes left behind: {'; '.join(described)}", pytrace=False)


@pytest.fixture(autouse=True)
def leaves_no_task(request: pytest.FixtureRequest, leaves_no_thread: None, leaves_no_child: None) -> None:
    """Fail an asyncio test that leaves a task behind; other tests have no loop and get none.

    It comes after the other two guards, so that it is torn down first: a forgotten task is named before its thread.
    """
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("watched_loop")


@pytest.fixture
async def watched_loop() -> AsyncIterator[None]:
    """Look at the test's loop once the test and its fixtures are done, before the loop cancels what is left."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE_S)
    # The pool behind asyncio.to_thread lives as long as the loop; end it here, before threads are counted.
    await asyncio.get_running_loop().shutdown_default_executor()
    if left:
        pytest.fail(f"tasks left behind: {', '.join(repr(task) for task in left)}", pytrace=False)
