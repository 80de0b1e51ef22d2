"""The desktop as a whole: closing, quitting, notifications, keys and codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QRadioButton, QToolButton, QWidget
from pytestqt.qtbot import QtBot

from agents.contract import ResultReady, RunFailed
from app.desktop.dialogs.key import KeyDialog
from app.desktop.dialogs.recovery import RecoveryDialog
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState
from app.desktop.settings import DesktopSettings
from app.desktop.shell import KEEP_RUNNING, STOP_TOO, Shell
from app.desktop.theme.theme import ThemeChoice
from app.launch import LaunchFailed, LaunchOptions
from tests.app.desktop.desk import KeptNotes, ScriptedAsker, connect, pump, texts_of, wait_for_state
from tests.app.desktop.fake_runtime import FakeRuntime, a_result, a_run, a_status, a_step, an_agent
from tests.app.desktop.test_pages import press, wait_for_text

MakeShell = Callable[..., Shell]
MakeLink = Callable[..., RuntimeLink]


@pytest.fixture
def shell(qtbot: QtBot, runtime: FakeRuntime, make_link: MakeLink, make_shell: MakeShell) -> Shell:
    """A shell whose window is shown and whose line stands."""
    runtime.agents = {"Document digest": an_agent(), "Paused one": an_agent("Paused one", paused=True)}
    runtime.runs = {4: a_run(4)}
    link = make_link()
    made = make_shell(link)
    connect(qtbot, link)
    made.show_window()
    return made


# --- closing


def test_closing_the_window_keeps_everything_and_says_so_once(shell: Shell, asker: ScriptedAsker) -> None:
    shell.window.close()
    assert not shell.window.isVisible()
    assert shell.link.is_connected
    assert asker.told == ["Hearth goes on in the background; its icon in the tray opens it again."]
    shell.show_window()
    shell.window.close()
    assert len(asker.told) == 1


@pytest.mark.parametrize(("choice", "hidden"), [("Keep it running", True), (None, False)])
def test_without_a_tray_closing_asks(
    qtbot: QtBot,
    runtime: FakeRuntime,
    link: RuntimeLink,
    make_shell: MakeShell,
    asker: ScriptedAsker,
    choice: str | None,
    hidden: bool,
) -> None:
    shell = make_shell(link, tray_is_there=lambda: False)
    shell.show_window()
    asker.choice = choice
    shell.window.close()
    assert asker.asked == ["Keep Hearth running in the background?"]
    assert shell.window.isVisible() is not hidden


# --- quitting


def test_quitting_asks_and_may_stop_the_agents_too(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, asker: ScriptedAsker
) -> None:
    asker.choice = STOP_TOO
    with qtbot.waitSignal(shell.finished):
        shell.quit_asked()
    assert asker.asked == ["Quit and stop 1 agent?"]
    assert "POST /v1/stop" in runtime.asked


def test_quitting_may_keep_the_agents_running(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, asker: ScriptedAsker
) -> None:
    asker.choice = KEEP_RUNNING
    with qtbot.waitSignal(shell.finished):
        shell.quit_asked()
    assert "POST /v1/stop" not in runtime.asked


def test_quitting_can_be_thought_better_of(qtbot: QtBot, shell: Shell, asker: ScriptedAsker) -> None:
    with qtbot.assertNotEmitted(shell.finished, wait=50):
        shell.quit_asked()
    assert shell.window.isVisible()


def test_with_no_runtime_there_is_nothing_to_ask(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, asker: ScriptedAsker
) -> None:
    runtime.say_stopping()
    wait_for_state(qtbot, shell.link, LinkState.STOPPED)
    with qtbot.waitSignal(shell.finished):
        shell.quit_asked()
    assert asker.asked == []


def test_a_runtime_that_does_not_stop_does_not_keep_the_window(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, asker: ScriptedAsker
) -> None:
    runtime.refusals["POST /v1/stop"] = (500, "error", "It can't.")
    asker.choice = STOP_TOO
    with qtbot.waitSignal(shell.finished):
        shell.quit_asked()


# --- the window


def test_the_keys_lead_through_the_pages(qtbot: QtBot, shell: Shell) -> None:
    window = shell.window
    with qtbot.waitExposed(window):
        window.raise_up()
    for key, name in ((Qt.Key.Key_2, "chat"), (Qt.Key.Key_3, "agents"), (Qt.Key.Key_1, "home")):
        qtbot.keyClick(window, key, Qt.KeyboardModifier.ControlModifier)
        assert window.page_name == name


def test_back_leads_where_the_run_was_opened(qtbot: QtBot, shell: Shell) -> None:
    shell.window.show_page("agents")
    shell.window.agents.open_run.emit(4)
    assert shell.window.page_name == "run"
    shell.window.run.back.emit()
    assert shell.window.page_name == "agents"


def test_while_the_runtime_is_away_a_banner_says_so_and_the_page_stays(
    qtbot: QtBot, home: Path, make_link: MakeLink, make_shell: MakeShell
) -> None:
    first, second = FakeRuntime(home), FakeRuntime(home)
    fakes = [first, second]
    link = make_link(lambda *_arguments: fakes.pop(0).start())
    shell = make_shell(link)
    connect(qtbot, link)
    shell.show_window()
    shell.window.show_page("agents")
    banners: list[list[str]] = []
    link.state_changed.connect(lambda _state: banners.append(texts_of(shell.window._banner)))
    first.stop()
    wait_for_state(qtbot, link, LinkState.RECONNECTING)
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    assert "Reconnecting… What you see may be a moment old." in banners[0]
    assert not shell.window._banner.isVisible()
    assert shell.window.pages.currentWidget() is shell.window.agents
    second.stop()


def test_a_failed_start_is_said_with_a_button_to_try_again(
    qtbot: QtBot, home: Path, make_link: MakeLink, make_shell: MakeShell
) -> None:
    fake = FakeRuntime(home)
    tries: list[int] = []

    def start(*_arguments: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise LaunchFailed("The disk is full.", 1)
        fake.start()

    link = make_link(start)
    shell = make_shell(link)
    shell.show_window()
    shell.start()
    wait_for_state(qtbot, link, LinkState.FAILED)
    assert "The disk is full." in texts_of(shell.window.waiting)
    press(qtbot, shell.window.waiting, "Try again")
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    assert shell.window.pages.currentWidget() is shell.window.home
    fake.stop()


def test_geometry_and_theme_are_kept_in_the_home(
    qtbot: QtBot, home: Path, runtime: FakeRuntime, link: RuntimeLink, make_shell: MakeShell
) -> None:
    shell = make_shell(link)
    shell.show_window()
    room = shell.window.screen().availableGeometry()
    shell.window.resize(min(1000, room.width() - 20), min(720, room.height() - 40))
    shell.window.rail.theme_chosen.emit(ThemeChoice.DARK)
    shell.window.close()
    kept = DesktopSettings(home)
    assert kept.theme is ThemeChoice.DARK
    assert kept.geometry is not None
    assert (home / "desktop.ini").stat().st_mode & 0o777 == 0o600
    again = make_shell(link)
    assert again.window.size() == shell.window.size()


def test_settings_are_not_written_before_there_is_a_home(tmp_path: Path) -> None:
    settings = DesktopSettings(tmp_path / "none")
    settings.theme = ThemeChoice.DARK
    assert not (tmp_path / "none").exists()


def test_a_settings_file_with_nonsense_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "desktop.ini").write_bytes(b"[General]\ntheme=pink\ngeometry=x\n\xff\xfe")
    settings = DesktopSettings(tmp_path)
    assert settings.theme is ThemeChoice.SYSTEM
    assert settings.geometry is None


# --- the tray's menu


def test_one_switch_stops_all_agents_and_lets_them_run_again(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell
) -> None:
    shell.tray.switch_chosen.emit(True)
    qtbot.waitUntil(lambda: shell.link.world.agents_stopped == "All agents are stopped.")
    assert runtime.status.agents_stopped
    shell.tray.switch_chosen.emit(False)
    qtbot.waitUntil(lambda: shell.link.world.agents_stopped is None)
    assert not runtime.agents["Document digest"].paused
    assert runtime.agents["Paused one"].paused


def test_a_switch_that_could_not_be_used_is_told(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, notes: KeptNotes
) -> None:
    runtime.refusals["POST /v1/agents-switch"] = (500, "disk_full", "The disk is full; free some space.")
    shell.tray.switch_chosen.emit(True)
    qtbot.waitUntil(lambda: bool(notes.shown))
    assert notes.shown[-1].body == "The disk is full; free some space."
    assert shell.link.world.agents_stopped is None


# --- notifications


def test_a_result_and_a_failure_are_notified_if_the_agent_wants_it(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, notes: KeptNotes
) -> None:
    runtime.emit(
        ResultReady(result=a_result(1), notify=False),
        ResultReady(result=a_result(2), notify=True),
        RunFailed(run=a_run(3, status="failed", reason="Empty."), notify=True),
    )
    qtbot.waitUntil(lambda: bool(notes.shown))
    assert [note.run_id for note in notes.shown] == [2]
    shell._flush_notes()
    assert [note.run_id for note in notes.shown] == [2, 3]


def test_opening_a_notification_opens_its_run(qtbot: QtBot, shell: Shell, notes: KeptNotes) -> None:
    shell.window.close()
    notes.opened.emit(4)
    assert shell.window.isVisible()
    assert shell.window.page_name == "run"
    notes.opened.emit(None)
    assert shell.window.page_name == "home"


# --- key and recovery code


def dialog_of(qtbot: QtBot, shell: Shell, kind: type[QWidget]) -> Any:
    qtbot.waitUntil(lambda: shell.window.findChild(kind) is not None)
    return shell.window.findChild(kind)


def test_a_new_home_without_a_keyring_is_asked_how_to_keep_its_data(
    qtbot: QtBot, home: Path, make_link: MakeLink, make_shell: MakeShell
) -> None:
    fake, used = FakeRuntime(home), []

    def start(_home: Path, options: LaunchOptions, _cancelled: Any) -> None:
        used.append(options)
        if options == LaunchOptions():
            raise LaunchFailed("There is no keyring to keep this home's key in; choose --key-file FILE.", 2)
        fake.start()

    link = make_link(start)
    shell = make_shell(link)
    shell.show_window()
    shell.start()
    dialog = dialog_of(qtbot, shell, KeyDialog)
    first, second = (f for f in dialog.findChildren(QLineEdit) if f.echoMode() is QLineEdit.EchoMode.Password)
    first.setText("correct horse")
    press(qtbot, dialog, "Continue")
    assert "The two passphrases differ; type them again." in texts_of(dialog)
    second.setText("correct horse")
    press(qtbot, dialog, "Continue")
    wait_for_state(qtbot, link, LinkState.CONNECTED)
    assert used[-1] == LaunchOptions(passphrase="correct horse")
    fake.stop()


@pytest.mark.parametrize(
    ("choice", "options"),
    [
        ("A key file", LaunchOptions(key_file=Path("/keys/hearth.key"))),
        ("No encryption", LaunchOptions(insecure_no_encryption=True)),
    ],
)
def test_the_other_choices_become_options(
    qtbot: QtBot, theme: Any, asker: ScriptedAsker, choice: str, options: LaunchOptions
) -> None:
    dialog = KeyDialog("There is no keyring.", is_new=True, asker=asker)
    qtbot.addWidget(dialog)
    dialog.show()
    next(r for r in dialog.findChildren(QRadioButton) if r.text() == choice).click()
    asker.path = "/keys/hearth.key"
    if choice == "A key file":
        press(qtbot, dialog, "Continue")
        assert "Name the key file." in texts_of(dialog)
        press(qtbot, dialog, "Browse…")
    with qtbot.waitSignal(dialog.accepted):
        press(qtbot, dialog, "Continue")
    assert dialog.options == options


def test_a_home_that_exists_is_opened_and_not_set_up(qtbot: QtBot, theme: Any, asker: ScriptedAsker) -> None:
    dialog = KeyDialog("This home needs its passphrase.", is_new=False, asker=asker)
    qtbot.addWidget(dialog)
    dialog.show()
    texts = texts_of(dialog)
    assert "This home needs its passphrase." in texts
    assert "No encryption" not in texts
    fields = [
        f for f in dialog.findChildren(QLineEdit) if f.isVisible() and f.echoMode() != f.EchoMode.Normal
    ]
    assert len(fields) == 1


def test_the_recovery_code_is_shown_until_it_is_written_down(
    qtbot: QtBot, runtime: FakeRuntime, make_link: MakeLink, make_shell: MakeShell
) -> None:
    runtime.recovery_code = "ABCD-EFGH-IJKL"
    runtime.status = a_status(recovery_code_pending=True)
    link = make_link()
    shell = make_shell(link)
    connect(qtbot, link)
    assert "GET /v1/recovery-code" not in runtime.asked  # nobody looks yet
    shell.show_window()
    dialog = dialog_of(qtbot, shell, RecoveryDialog)
    assert "ABCD-EFGH-IJKL" in texts_of(dialog)
    press(qtbot, dialog, "Later")
    pump()
    assert runtime.recovery_code is not None
    shell.window.hide()
    shell.show_window()
    press(qtbot, dialog_of(qtbot, shell, RecoveryDialog), "I have written it down")
    qtbot.waitUntil(lambda: runtime.recovery_code is None)


# --- for everybody


def test_every_button_has_a_name_and_can_be_reached_by_key(qtbot: QtBot, shell: Shell) -> None:
    for page in ("home", "chat", "agents"):
        shell.window.show_page(page)
        pump()
        for kind in (QPushButton, QToolButton):
            for each in shell.window.findChildren(kind):
                if each.isVisible():
                    assert each.accessibleName() or each.text(), each
                    assert each.focusPolicy() & Qt.FocusPolicy.TabFocus, each


def test_no_label_takes_text_for_html(qtbot: QtBot, runtime: FakeRuntime, shell: Shell) -> None:
    hostile = "<img src='file:///etc/passwd'><b>bold</b>"
    runtime.emit(ResultReady(result=a_result(1, title=hostile), notify=False))
    wait_for_text(qtbot, shell.window.home, hostile)
    for label in shell.window.findChildren(QLabel):
        assert label.textFormat() is Qt.TextFormat.PlainText or not label.text(), label.text()


@pytest.mark.parametrize("page", ["home", "chat", "agents", "run"])
def test_no_text_is_cut_in_the_smallest_window(
    qtbot: QtBot, runtime: FakeRuntime, shell: Shell, page: str
) -> None:
    from app.desktop.widgets.basics import ElidedLabel

    runtime.steps = {4: [a_step(n) for n in range(1, 4)]}
    shell.window.resize(shell.window.minimumSize())
    if page == "run":
        shell.window.show_run(4)
        qtbot.waitUntil(lambda: shell.window.run.shows_run == 4)
    else:
        shell.window.show_page(page)
    qtbot.wait(100)
    shown = shell.window.pages.currentWidget()
    assert shown is not None
    for label in shown.findChildren(QLabel):
        if label.isVisible() and label.text() and not isinstance(label, ElidedLabel):
            wanted = label.heightForWidth(label.width()) if label.wordWrap() else label.sizeHint().height()
            assert label.height() >= wanted, label.text()
            assert label.wordWrap() or label.width() >= label.sizeHint().width(), label.text()
    for pressed in shown.findChildren(QPushButton):
        if pressed.isVisible() and pressed.text():
            assert pressed.width() >= pressed.sizeHint().width(), pressed.text()
