"""Lanes: which thread a call runs on, at which priority, and what the process as a whole is set to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.core import Message, Priority, Request
from engine.host.bounded_log import BoundedLog
from engine.host.child_process import EngineChild
from engine.messages import Submit
from engine.pace.os_priority import ASSERT_EVERY_S, LOWER_AFTER_S, Lanes, SessionPriority, lift, priority_of

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's scheduling classes")


class RecordedPriority:
    def __init__(self) -> None:
        self.changes: list[str] = []

    def lower(self) -> None:
        self.changes.append("lower")

    def lift(self) -> None:
        self.changes.append("lift")


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def __call__(self) -> float:
        return self.time_s


@pytest.fixture
def process() -> RecordedPriority:
    return RecordedPriority()


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def lanes(process: RecordedPriority, clock: Hand) -> Iterator[Lanes]:
    lanes = Lanes(process, now=clock)
    yield lanes
    lanes.close()


@pytest.fixture
def session_of_its_own() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads its session and waits."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    yield child
    child.communicate(b"")


def policy() -> int:
    return os.sched_getscheduler(0)


def may_leave_the_lowest_class() -> bool:
    way = "import os; [os.sched_setscheduler(0, to, os.sched_param(0)) for to in (os.SCHED_IDLE, os.SCHED_OTHER)]"
    return subprocess.run([sys.executable, "-c", way], stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_a_normal_call_runs_in_the_callers_thread(lanes: Lanes) -> None:
    assert lanes.run(threading.get_ident, background=False) == threading.get_ident()


@linux_only
def test_background_calls_share_one_thread_of_the_lowest_class_and_the_caller_keeps_its_own(
    lanes: Lanes,
) -> None:
    before = policy()
    first, second = (lanes.run(lambda: (threading.get_ident(), policy()), background=True) for _ in range(2))
    assert first == second
    assert first[0] != threading.get_ident()
    assert first[1] == os.SCHED_IDLE
    assert policy() == before


@linux_only
def test_threads_made_by_a_background_call_inherit_its_class(lanes: Lanes) -> None:
    def in_a_thread_of_its_own() -> int:
        seen: list[int] = []
        worker = threading.Thread(target=lambda: seen.append(policy()))
        worker.start()
        worker.join()
        return seen[0]

    assert lanes.run(in_a_thread_of_its_own, background=True) == os.SCHED_IDLE


@pytest.mark.parametrize("background", [True, False])
def test_what_a_call_raises_reaches_its_caller_and_the_lane_goes_on(lanes: Lanes, background: bool) -> None:
    def fail() -> None:
        raise KeyError("shelf")

    with pytest.raises(KeyError, match="shelf"):
        lanes.run(fail, background=background)
    assert lanes.run(lambda: 7, background=background) == 7


def test_closing_ends_the_background_thread_and_lifts_the_process(process: RecordedPriority) -> None:
    before = set(threading.enumerate())
    lanes = Lanes(process)
    lanes.run(lambda: None, background=True)
    lanes.close()
    assert set(threading.enumerate()) == before
    assert process.changes == ["lift"]


def test_the_process_is_lowered_once_background_work_has_been_alone_for_a_while(
    lanes: Lanes, process: RecordedPriority, clock: Hand
) -> None:
    lanes.run(lambda: None, background=True)
    clock.time_s += LOWER_AFTER_S / 2
    lanes.run(lambda: None, background=True)
    assert process.changes == []
    clock.time_s += 2 * LOWER_AFTER_S
    lanes.run(lambda: None, background=True)
    lanes.run(lambda: None, background=True)
    assert process.changes == ["lower"]


def test_a_normal_call_lifts_a_lowered_process_before_it_runs(
    lanes: Lanes, process: RecordedPriority, clock: Hand
) -> None:
    lanes.run(lambda: None, background=True)
    clock.time_s += 2 * LOWER_AFTER_S
    lanes.run(lambda: None, background=True)
    assert lanes.run(lambda: list(process.changes), background=False) == ["lower", "lift"]
    lanes.run(lambda: None, background=False)
    assert process.changes == ["lower", "lift"]


def test_background_work_between_normal_calls_does_not_lower_the_process(
    lanes: Lanes, process: RecordedPriority, clock: Hand
) -> None:
    for _ in range(10):
        lanes.run(lambda: None, background=True)
        clock.time_s += LOWER_AFTER_S * 0.9
        lanes.run(lambda: None, background=False)
    assert process.changes == []


def test_a_process_that_somebody_lifted_is_lowered_again_while_background_work_goes_on(
    lanes: Lanes, process: RecordedPriority, clock: Hand
) -> None:
    for _ in range(5):
        lanes.run(lambda: None, background=True)
        clock.time_s += ASSERT_EVERY_S
    assert process.changes == ["lower"] * 4


@linux_only
def test_lifting_during_a_background_call_speeds_it_up_where_allowed_and_only_that_call(lanes: Lanes) -> None:
    def lifted_while_running() -> int:
        lifter = threading.Thread(target=lanes.lift)
        lifter.start()
        lifter.join()
        return policy()

    allowed = os.geteuid() == 0
    assert lanes.run(lifted_while_running, background=True) == (os.SCHED_OTHER if allowed else os.SCHED_IDLE)
    assert lanes.run(policy, background=True) == os.SCHED_IDLE


@linux_only
@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="a kernel without autogroups")
def test_a_session_is_lowered_and_lifted_as_a_whole(session_of_its_own: subprocess.Popen[bytes]) -> None:
    group = Path(f"/proc/{session_of_its_own.pid}/autogroup")
    SessionPriority(session_of_its_own.pid).lower()
    assert group.read_text().endswith("nice 19\n")
    time.sleep(0.11)  # the kernel takes ten changes a second from ordinary users
    lift(session_of_its_own.pid)
    assert group.read_text().endswith("nice 0\n")


@linux_only
def test_a_process_that_shares_its_session_is_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert priority_of(child.pid) is None
    finally:
        child.communicate(b"")


@linux_only
def test_lifting_a_process_that_is_gone_is_no_error(session_of_its_own: subprocess.Popen[bytes]) -> None:
    priority = priority_of(session_of_its_own.pid)
    assert priority is not None
    session_of_its_own.communicate(b"")
    priority.lift()
    lift(session_of_its_own.pid)


@linux_only
def test_leading_a_session_takes_a_process_out_of_its_starters_group() -> None:
    words = "from engine.pace.os_priority import lead_session, priority_of; import os; lead_session(); lead_session()"
    command = f"{words}; print(os.getsid(0) == os.getpid(), priority_of(os.getpid()) is not None)"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert result.stdout.split() == [b"True", b"True"]


@linux_only
@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="a kernel without autogroups")
@pytest.mark.parametrize(("priority", "nice"), [(Priority.INTERACTIVE, 0), (Priority.BACKGROUND, 19)])
async def test_a_question_lifts_the_child_before_it_is_sent_and_background_work_does_not(
    tmp_path: Path, priority: Priority, nice: int
) -> None:
    words = "import os; os.setsid(); os.write(2, b'.'); os.read(0, 1); import time; time.sleep(60)"
    child = await EngineChild.spawn(
        [sys.executable, "-c", words],
        environment=dict(os.environ),
        log=BoundedLog(tmp_path / "log"),
        on_death=lambda: None,
    )
    try:
        while os.getsid(child.pid) != child.pid:
            await asyncio.sleep(0.01)
        SessionPriority(child.pid).lower()
        await asyncio.sleep(0.11)
        request = Request(id="r", messages=(Message(role="user", content="?"),), priority=priority)
        child.post(Submit(request=request))
        assert Path(f"/proc/{child.pid}/autogroup").read_text().endswith(f"nice {nice}\n")
    finally:
        await child.bury()
