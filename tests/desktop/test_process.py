"""The real desktop process from its start to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.contract import ResultReady, RunChanged
from app.desktop.theme.tokens import DARK, LIGHT
from tests.app.desktop.fake_runtime import FakeRuntime, a_result, a_run
from tests.desktop.conftest import StartDesktop
from tests.desktop.fakedesk import FakeDesk, wait_until


def test_a_second_start_raises_the_first_window_and_ends(
    runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    first = start_desktop("--background")
    runtime.wait_for_listener()
    second = start_desktop()
    assert second.end() == 0
    first.wait_for("window", shown=True)
    assert first.process.poll() is None


def test_after_kill_9_the_next_start_is_the_first_again(
    runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    killed = start_desktop()
    killed.wait_for("window", shown=True)
    killed.kill()
    start_desktop().wait_for("window", shown=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_the_runtime_goes_on(
    runtime: FakeRuntime, start_desktop: StartDesktop, number: signal.Signals
) -> None:
    desktop = start_desktop()
    desktop.wait_for("window", shown=True)
    runtime.wait_for_listener()
    desktop.process.send_signal(number)
    assert desktop.end() == 0
    assert "POST /v1/stop" not in runtime.asked
    assert desktop.errors == []


def test_without_a_tray_closing_asks_first(runtime: FakeRuntime, start_desktop: StartDesktop) -> None:
    desktop = start_desktop()
    desktop.wait_for("window", shown=True)
    desktop.tell("close")
    assert desktop.wait_for("question")["text"] == "Keep Hearth running in the background?"
    desktop.tell("click Keep it running")
    desktop.wait_for("window", shown=False)
    start_desktop().end()
    desktop.wait_for("window", shown=True)


def test_without_a_session_bus_everything_but_tray_and_notifications_works(
    runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    desktop = start_desktop(DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent")
    desktop.wait_for("window", shown=True)
    runtime.wait_for_listener()
    wait_until(lambda: "GET /v1/results" in runtime.asked, "the state to be read")
    runtime.emit(ResultReady(result=a_result(1), notify=True))
    assert desktop.state()["visible"]
    desktop.process.send_signal(signal.SIGTERM)
    assert desktop.end() == 0


def test_started_and_quit_with_work_in_flight_it_ends_well_each_time(
    runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    for _ in range(4):
        desktop = start_desktop()
        desktop.wait_for("window", shown=True)
        runtime.wait_for_listener()
        runtime.emit(RunChanged(run=a_run(1, status="running")), ResultReady(result=a_result(1), notify=True))
        desktop.process.send_signal(signal.SIGTERM)
        assert desktop.end() == 0, desktop.errors


@pytest.mark.soak
@pytest.mark.timeout(1_200)
def test_two_hundred_starts_and_quits(runtime: FakeRuntime, start_desktop: StartDesktop) -> None:
    for _ in range(200):
        desktop = start_desktop()
        desktop.wait_for("window", shown=True)
        runtime.emit(ResultReady(result=a_result(1), notify=True))
        desktop.process.send_signal(signal.SIGTERM)
        assert desktop.end() == 0, desktop.errors
        desktop.kill()


@pytest.fixture
def dark_desk() -> Iterator[FakeDesk]:
    made = FakeDesk(tray=False, notifications=False, scheme=1)
    made.start()
    yield made
    made.stop()


def test_light_and_dark_follow_the_system(
    dark_desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    desktop = start_desktop()
    desktop.wait_for("window", shown=True)
    wait_until(lambda: desktop.state()["background"] == DARK.window, "dark colours")
    dark_desk.set_scheme(2)
    wait_until(lambda: desktop.state()["background"] == LIGHT.window, "light colours")


def test_the_users_choice_comes_before_the_system(
    dark_desk: FakeDesk, home: Path, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    (home / "desktop.ini").write_text("[General]\ntheme=light\n")
    desktop = start_desktop()
    desktop.wait_for("window", shown=True)
    runtime.wait_for_listener()
    assert desktop.state()["background"] == LIGHT.window


def test_a_screen_that_is_not_there_is_one_sentence(home: Path) -> None:
    code = "import sys; from pathlib import Path; from app.desktop.main import run; sys.exit(run(Path(sys.argv[1])))"
    environment = {**os.environ, "DISPLAY": ":4711", "QT_QPA_PLATFORM": "xcb"}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(home)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == "The screen :4711 does not answer; set DISPLAY to one that does.\n"
