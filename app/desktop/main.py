"""The composition root of the desktop process.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, QSocketNotifier, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from agents.paths import HomePaths, assets_dir
from app.desktop.crash import CrashNet
from app.desktop.display import display_problem
from app.desktop.instance import NotAnsweringError, SingleInstance
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.starter import RuntimeStarter
from app.desktop.notifier import SystemNotifier
from app.desktop.settings import DesktopSettings
from app.desktop.shell import Parts, Shell
from app.desktop.theme.theme import Theme, ThemeChoice

APP_ID = "hearth"
ICON_SIZES_PX = (16, 24, 32, 48, 64, 128, 256)


def run(home: Path, *, background: bool = False) -> int:
    """Opens the desktop of a home and returns when it was quit; `background` starts it without its window."""
    problem = display_problem(os.environ)
    if problem is not None:
        print(problem, file=sys.stderr)  # noqa: T201  the only face that is left
        return 1
    application = make_application()
    try:
        instance = SingleInstance(home)
        if not instance.acquire():
            return 0
    except NotAnsweringError as error:
        print(error, file=sys.stderr)  # noqa: T201  there is no window to say it in
        return 1
    shell = make_shell(application, home)
    instance.show_asked.connect(shell.show_window)
    teller = _Teller()
    teller.told.connect(shell.window.asker.tell, Qt.ConnectionType.QueuedConnection)
    net = CrashNet(home, teller.told.emit)
    net.install()
    shell.finished.connect(application.quit)
    try:
        with _quit_on_signals(shell):
            shell.start()
            if not background:
                shell.show_window()
            return application.exec()
    finally:
        shell.finish()
        instance.release()
        net.remove()


def make_application() -> QApplication:
    """The names come first: trays and notification services read them when Qt connects."""
    QCoreApplication.setApplicationName(APP_ID)
    QApplication.setApplicationDisplayName("Hearth")
    QApplication.setDesktopFileName(APP_ID)
    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    application.setQuitOnLastWindowClosed(False)
    icon = QIcon()
    for size in ICON_SIZES_PX:
        icon.addFile(str(icons_dir() / f"hearth-{size}.png"))
    application.setWindowIcon(icon)
    return application


def make_shell(application: QApplication, home: Path, *, theme: ThemeChoice | None = None) -> Shell:
    """Everything put together; nothing is connected before `start`."""
    paths = HomePaths(home)
    settings = DesktopSettings(home)
    parts = Parts(
        paths=paths,
        link=RuntimeLink(paths, RuntimeStarter(home)),
        theme=Theme(application, theme or settings.theme),
        settings=settings,
        notifier=SystemNotifier("Hearth", icons_dir() / "hearth-128.png"),
        icons=icons_dir(),
    )
    return Shell(parts)


def icons_dir() -> Path:
    return assets_dir() / "icons"


class _Teller(QObject):
    """Brings a sentence from any thread to the main one."""

    told = Signal(str)


@contextmanager
def _quit_on_signals(shell: Shell) -> Iterator[None]:
    """SIGTERM and SIGINT end the desktop in order. Python handles a signal only between bytecodes, which Qt's loop
    does not run; so the signal's number comes through a socket that Qt watches."""
    reader, writer = socket.socketpair()
    for each in (reader, writer):
        each.setblocking(False)
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    old = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(shell.finish)
    try:
        yield
    finally:
        notifier.setEnabled(False)
        signal.set_wakeup_fd(old_fd)
        for number, handler in old.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
