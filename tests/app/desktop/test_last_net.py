"""What stands between a bug and the user: crash reports, one window per home, a screen that is not there."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtNetwork import QLocalSocket
from pytestqt.exceptions import capture_exceptions
from pytestqt.qtbot import QtBot

from app.desktop.crash import CrashNet
from app.desktop.display import display_problem
from app.desktop.instance import NotAnsweringError, SingleInstance
from app.desktop.notes import Note
from app.desktop.notifier import SystemNotifier

SECRET = "my private words"


def a_bug() -> None:
    private = SECRET
    raise ValueError(private)


# --- crash reports


def test_a_bug_becomes_a_sentence_and_a_report_without_private_text(tmp_path: Path) -> None:
    told: list[str] = []
    net = CrashNet(tmp_path, told.append)
    for _ in range(3):
        try:
            a_bug()
        except ValueError:
            net._catch(*sys.exc_info())  # type: ignore[arg-type]
    (report,) = (tmp_path / "logs").iterdir()
    text = report.read_text()
    assert "ValueError" in text
    assert "a_bug" in text
    assert SECRET not in text
    assert report.stat().st_mode & 0o777 == 0o600
    assert told == [
        f"Something in Hearth's window went wrong; your agents are not affected. The report is {report}."
    ]


def test_a_bug_in_a_slot_or_a_thread_is_caught(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    net = CrashNet(tmp_path, told.append)
    with capture_exceptions():
        net.install()
        try:
            QTimer.singleShot(0, a_bug)
            qtbot.waitUntil(lambda: len(told) == 1)
            thread = threading.Thread(target=a_bug)
            thread.start()
            thread.join()
        finally:
            net.remove()
    assert len(told) == 2
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_where_no_report_can_be_written_there_is_still_the_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    told: list[str] = []
    blocked = tmp_path / "file"
    blocked.write_text("")
    net = CrashNet(blocked, told.append)
    try:
        a_bug()
    except ValueError:
        net._catch(*sys.exc_info())  # type: ignore[arg-type]
    assert told == ["Something in Hearth's window went wrong; your agents are not affected."]


# --- one window per home


SECOND_START = """
import sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from app.desktop.instance import SingleInstance
application = QCoreApplication([])
sys.exit(10 + SingleInstance(Path(sys.argv[1]), Path(sys.argv[2])).acquire())
"""


def test_a_second_start_shows_the_window_of_the_first(qtbot: QtBot, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = SingleInstance(home, tmp_path)
    assert first.acquire()
    process = subprocess.Popen([sys.executable, "-c", SECOND_START, str(home), str(tmp_path)])
    with qtbot.waitSignal(first.show_asked, timeout=20_000):
        pass
    qtbot.waitUntil(lambda: process.poll() is not None, timeout=20_000)
    assert process.returncode == 10  # it did not become the one
    first.release()


def test_another_home_has_a_window_of_its_own(tmp_path: Path) -> None:
    one, two = (SingleInstance(tmp_path / name, tmp_path) for name in ("one", "two"))
    assert one.acquire()
    assert two.acquire()
    one.release()
    two.release()


def test_what_a_killed_desktop_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    first = SingleInstance(tmp_path / "home", tmp_path)
    assert first.acquire()
    first._lock.release()  # as the kernel does when the process is killed; its socket and lock file stay
    assert list(tmp_path.glob("*.sock"))
    second = SingleInstance(tmp_path / "home", tmp_path)
    assert second.acquire()
    second.release()
    first.release()


def test_a_desktop_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.desktop.instance._ANSWER_WITHIN_MS", 50)
    first = SingleInstance(tmp_path / "home", tmp_path)
    assert first.acquire()
    with pytest.raises(NotAnsweringError, match="already open, but does not answer"):
        SingleInstance(tmp_path / "home", tmp_path).acquire()  # nobody runs the first one's loop
    first.release()


def test_a_stranger_who_talks_nonsense_is_cut_off(qtbot: QtBot, tmp_path: Path) -> None:
    first = SingleInstance(tmp_path / "home", tmp_path)
    assert first.acquire()
    client = QLocalSocket()
    client.connectToServer(first._address)
    assert client.waitForConnected(1000)
    with qtbot.assertNotEmitted(first.show_asked):
        client.write(b"x" * 10_000)
        qtbot.waitUntil(lambda: client.state() is QLocalSocket.LocalSocketState.UnconnectedState)
    first.release()


# --- no screen, no bus


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_a_missing_screen_is_one_sentence() -> None:
    assert display_problem({}) is not None
    assert display_problem({"WAYLAND_DISPLAY": "wayland-0"}) is None
    assert display_problem({"QT_QPA_PLATFORM": "offscreen"}) is None
    gone = display_problem({"DISPLAY": ":4711"})
    assert gone == "The screen :4711 does not answer; set DISPLAY to one that does."


def test_a_notification_without_a_bus_is_nothing(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    notifier = SystemNotifier("Hearth")
    for _ in range(2):
        notifier.show(Note(title="a", body=SECRET, run_id=1))
    qtbot.wait(50)
    notifier.close()
    notifier.show(Note(title="after", body="", run_id=1))
    assert SECRET not in caplog.text
