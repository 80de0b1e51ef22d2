"""What tests of the desktop share: a stand-in runtime, a link to it, answers to questions, and guards against leaks."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QThread, QTimer, QUrl
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from agents.paths import HomePaths
from app.desktop.dialogs.asker import Asker
from app.desktop.link.backoff import Backoff
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.starter import RuntimeStarter
from app.desktop.link.states import LinkState
from app.desktop.main import icons_dir
from app.desktop.notes import Note
from app.desktop.notifier import Notifier
from app.desktop.settings import DesktopSettings
from app.desktop.shell import Parts, Shell
from app.desktop.theme.theme import Theme, ThemeChoice
from tests.app.desktop.fake_runtime import FakeRuntime

if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


class ScriptedAsker(Asker):
    """Answers questions by what the test put in, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.told: list[str] = []
        self.opened: list[str] = []
        self.yes = True
        self.choice: str | None = None
        self.path: str | None = None

    def confirm(self, question: str, detail: str, yes: str, *, danger: bool = False) -> bool:
        self.asked.append(f"{question} {detail}".strip())
        return self.yes

    def choose(self, question: str, detail: str, choices: tuple[str, ...]) -> str | None:
        self.asked.append(question)
        assert self.choice is None or self.choice in choices
        return self.choice

    def tell(self, sentence: str, detail: str = "") -> None:
        self.told.append(sentence)

    def pick_folder(self, title: str, start: str = "") -> str | None:
        return self.path

    def pick_file(self, title: str, patterns: str) -> str | None:
        return self.path

    def pick_key_file(self) -> str | None:
        return self.path

    def open_file(self, path: str) -> bool:
        self.opened.append(path)
        return True

    def open_link(self, url: QUrl) -> None:
        self.opened.append(url.toString())


class KeptNotes(Notifier):
    """Keeps the notes that would be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Note] = []

    def show(self, note: Note) -> None:
        self.shown.append(note)


def pump() -> None:
    """Runs what is due in Qt's loop, deferred deletions too."""
    QCoreApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def texts_of(widget: QWidget) -> list[str]:
    """Every text that is on the screen inside a widget."""
    found = []
    for child in widget.findChildren(QWidget):
        text = getattr(child, "text", None)
        if callable(text) and child.isVisibleTo(widget) and text():
            found.append(str(text()))
    return found


def _alive(kind: type[QObject]) -> list[Any]:
    return [each for each in gc.get_objects() if isinstance(each, kind) and shiboken6.isValid(each)]


@pytest.fixture(autouse=True)
def leaves_nothing_in_qt(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a window, a running timer or a thread of Qt behind; pure tests are not held up."""
    if not {"qtbot", "qapp", "theme", "link"} & set(request.fixturenames):
        yield
        return
    request.getfixturevalue("qapp")
    windows = set(QApplication.topLevelWidgets())
    yield
    pump()
    gc.collect()
    pump()
    left = [repr(w) for w in QApplication.topLevelWidgets() if w not in windows]
    left += [repr(t) for t in _alive(QTimer) if t.isActive()]
    left += [repr(t) for t in _alive(QThread) if t.isRunning() and t is not QThread.currentThread()]
    if left:
        pytest.fail(f"left in Qt: {', '.join(left)}", pytrace=False)


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")


@pytest.fixture
def runtime(home: Path) -> Iterator[FakeRuntime]:
    """A stand-in that listens."""
    fake = FakeRuntime(home)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def theme(qapp: QApplication) -> Iterator[Theme]:
    made = Theme(qapp, ThemeChoice.LIGHT)
    yield made
    qapp.setStyleSheet("")
    shiboken6.delete(made)


@pytest.fixture
def make_link(qtbot: QtBot, home: Path) -> Iterator[Callable[..., RuntimeLink]]:
    """Makes links whose starts are the test's; they are closed afterwards."""
    links: list[RuntimeLink] = []

    def make(start: Callable[..., Any] | None = None) -> RuntimeLink:
        def refuse(*_arguments: Any) -> None:
            raise AssertionError("nobody should start a runtime in this test")

        starter = RuntimeStarter(home, start or refuse)
        link = RuntimeLink(HomePaths(home), starter, backoff=Backoff((0.02, 0.02, 0.02, 0.05)))
        starter.setParent(link)
        links.append(link)
        return link

    yield make
    for link in links:
        link.close()
        pump()
        shiboken6.delete(link)


@pytest.fixture
def link(qtbot: QtBot, runtime: FakeRuntime, make_link: Callable[..., RuntimeLink]) -> RuntimeLink:
    """A link that is connected to the stand-in."""
    made = make_link()
    connect(qtbot, made)
    return made


def connect(qtbot: QtBot, link: RuntimeLink) -> None:
    link.open()
    wait_for_state(qtbot, link, LinkState.CONNECTED)


def wait_for_state(qtbot: QtBot, link: RuntimeLink, state: LinkState) -> None:
    qtbot.waitUntil(lambda: link.state is state, timeout=10_000)


@pytest.fixture
def asker() -> ScriptedAsker:
    return ScriptedAsker()


@pytest.fixture
def notes() -> Iterator[KeptNotes]:
    made = KeptNotes()
    yield made
    shiboken6.delete(made)


@pytest.fixture
def make_shell(
    home: Path, theme: Theme, asker: ScriptedAsker, notes: KeptNotes
) -> Iterator[Callable[..., Shell]]:
    """Makes shells around a link; a tray is there unless the test says otherwise."""
    shells: list[Shell] = []

    def make(link: RuntimeLink, **changes: Any) -> Shell:
        values: dict[str, Any] = {
            "paths": HomePaths(home),
            "link": link,
            "theme": theme,
            "settings": DesktopSettings(home),
            "notifier": notes,
            "icons": icons_dir(),
            "asker": asker,
            "tray_is_there": lambda: True,
        }
        shell = Shell(Parts(**values | changes))
        shells.append(shell)
        return shell

    yield make
    for shell in shells:
        shell.finish()
        shell.window.deleteLater()
        shiboken6.delete(shell)
        pump()
