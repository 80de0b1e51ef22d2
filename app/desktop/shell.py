"""The desktop as a whole: window, tray, notifications and the line to the runtime, and what closing and quitting mean.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QGuiApplication

from agents.contract import Event
from agents.paths import HomePaths
from app.desktop.dialogs.asker import Asker
from app.desktop.dialogs.prompts import Prompts
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState
from app.desktop.link.transport import Trouble
from app.desktop.models.tray import tray_view
from app.desktop.models.words import counted
from app.desktop.notes import Note, NoteGatherer, inert, note_of
from app.desktop.notifier import Notifier
from app.desktop.pages.home import utc_now
from app.desktop.presence import PresenceReporter
from app.desktop.settings import DesktopSettings
from app.desktop.theme.theme import Theme, ThemeChoice
from app.desktop.tray import Tray
from app.desktop.window import MainWindow

T = TypeVar("T")

STOP_TOO = "Stop the agents too"
KEEP_RUNNING = "Keep them running"
STOP_WITHIN_MS = 15_000
TRAY_AFTER_MS = 150


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the shell is put together from."""

    paths: HomePaths
    link: RuntimeLink
    theme: Theme
    settings: DesktopSettings
    notifier: Notifier
    icons: Path
    asker: Asker | None = None
    tray_is_there: Callable[[], bool] = Tray.is_there


class Shell(QObject):
    """One per desktop process. `finished` says that the process may end."""

    finished = Signal()

    def __init__(self, parts: Parts, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link, self._theme = parts.link, parts.theme
        self._settings, self._notifier = parts.settings, parts.notifier
        self._tray_is_there = parts.tray_is_there
        self.window = MainWindow(parts.theme, parts.link, parts.icons, parts.asker)
        self._asker = self.window.asker
        self.tray = Tray(parts.icons, self)
        self._presence = PresenceReporter(parts.link, self)
        self._prompts = Prompts(parts.paths, parts.link, self.window, self._asker, self)
        self._asks = False  # a question about closing or quitting is open
        self._quitting = False
        self._finished = False
        self._gatherer = NoteGatherer()
        self._notes_timer = self._timer(self._flush_notes)
        self._tray_timer = self._timer(self._draw_tray, TRAY_AFTER_MS)
        self._quit_timer = self._timer(self.finish, STOP_WITHIN_MS)
        self._connect()
        self._draw_tray()
        geometry = parts.settings.geometry
        if geometry is not None:
            self.window.restoreGeometry(geometry)

    def _timer(self, what: Callable[[], None], after_ms: int = 0) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(after_ms)
        timer.timeout.connect(what)
        return timer

    def _connect(self) -> None:
        self._link.state_changed.connect(self._state_changed)
        self._link.world_changed.connect(self._world_changed)
        self._link.happened.connect(self._event_happened)
        self._notifier.opened.connect(self._open_from_note)
        self.window.close_asked.connect(self.close_asked)
        self.window.quit_asked.connect(self.quit_asked)
        self.window.help_asked.connect(self._help)
        self.window.shown_or_hidden.connect(self._window_shown)
        self.window.rail.theme_chosen.connect(self._choose_theme)
        self.tray.open_chosen.connect(self.show_window)
        self.tray.switch_chosen.connect(self._switch_agents)
        self.tray.quit_chosen.connect(self.quit_asked)

    # --- showing

    def start(self) -> None:
        """Looks for the runtime, or starts it."""
        self._link.open()

    @property
    def link(self) -> RuntimeLink:
        return self._link

    def show_window(self) -> None:
        self.window.raise_up()

    def _window_shown(self, shown: bool) -> None:
        self._link.watch_closely(shown)
        if shown:
            self._prompts.look()

    def _choose_theme(self, choice: ThemeChoice) -> None:
        self._theme.choose(choice)
        self._settings.theme = choice

    def _open_from_note(self, run_id: int | None) -> None:
        if run_id is None:
            self.window.show_page("home")
        else:
            self.window.show_run(run_id)
        self.show_window()

    # --- the line

    def _state_changed(self, state: LinkState) -> None:
        self.window.show_state(state, self._link.sentence)
        self._draw_tray()
        self._prompts.look()
        if state is LinkState.STOPPED and self._quitting:
            self.finish()

    def _world_changed(self, _parts: object) -> None:
        if not self._tray_timer.isActive():
            self._tray_timer.start()

    def _draw_tray(self) -> None:
        self.tray.show_view(tray_view(self._link.world, self._link.state, utc_now()))

    def _help(self) -> None:
        """The one button of the banner or the waiting page."""
        if self._link.state is LinkState.NEEDS_KEY:
            self._prompts.look()
        else:
            self._link.retry()

    def _switch_agents(self, stopped: bool) -> None:
        """The answer comes as an event too, which is what is drawn."""
        self._link.api.switch_agents(stopped, lambda _switched: None, self._switch_failed)

    def _switch_failed(self, trouble: Trouble) -> None:
        self._notifier.show(
            Note(title="The agents were not switched", body=inert(trouble.message), run_id=None, failed=True)
        )

    # --- notifications

    def _event_happened(self, event: Event) -> None:
        note = note_of(event)
        if note is None:
            return
        now_s = time.monotonic()
        shown = self._gatherer.take(note, now_s)
        if shown is not None:
            self._notifier.show(shown)
        elif not self._notes_timer.isActive():
            self._notes_timer.start(round((self._gatherer.due_in_s(now_s) or 0.0) * 1000))

    def _flush_notes(self) -> None:
        note = self._gatherer.flush(time.monotonic())
        if note is not None:
            self._notifier.show(note)

    # --- closing and quitting

    def close_asked(self) -> None:
        """The window's close button: agents go on. Without a tray the user is asked what was meant."""
        application = QGuiApplication.instance()
        if isinstance(application, QGuiApplication) and application.isSavingSession():
            self.finish()  # the user logs out: not the time for questions
            return
        if self._asks:
            return
        if not self._tray_is_there():
            self._close_without_tray()
            return
        if not self._settings.told_about_closing:
            self._settings.told_about_closing = True
            self._ask(
                lambda: self._asker.tell(
                    "Hearth goes on in the background; its icon in the tray opens it again."
                )
            )
        self._hide()

    def _close_without_tray(self) -> None:
        keep, leave = "Keep it running", "Quit…"
        chosen = self._ask(
            lambda: self._asker.choose(
                "Keep Hearth running in the background?",
                "This desktop has no tray. Start Hearth again to see this window.",
                (keep, leave),
            )
        )
        if chosen == keep:
            self._hide()
        elif chosen == leave:
            self.quit_asked()

    def quit_asked(self) -> None:
        """Asks whether the agents stop too; with no runtime there is nothing to ask."""
        if self._asks or self._quitting:
            return
        if not self._link.is_connected:
            self.finish()
            return
        active = len(self._link.world.active_agents)
        question = (
            f"Quit and stop {counted(active, 'agent')}?"
            if active
            else "Quit and stop Hearth's background part?"
        )
        detail = "They can go on working without this window; what they find is here when you open it again."
        chosen = self._ask(lambda: self._asker.choose(question, detail, (STOP_TOO, KEEP_RUNNING)))
        if chosen == STOP_TOO:
            self._stop_and_quit()
        elif chosen == KEEP_RUNNING:
            self.finish()

    def _ask(self, question: Callable[[], T]) -> T:
        """One question at a time: the event loop goes on while it is open."""
        self._asks = True
        try:
            return question()
        finally:
            self._asks = False

    def _stop_and_quit(self) -> None:
        self._quitting = True
        self._hide()
        self._link.expect_stop()
        self._quit_timer.start()
        self._link.api.stop(lambda _none: None, lambda _trouble: self.finish())

    def _hide(self) -> None:
        self._save_geometry()
        self.window.hide()

    def _save_geometry(self) -> None:
        self._settings.geometry = self.window.saveGeometry()

    def finish(self) -> None:
        """Ends this process's part in order; the runtime is not touched. A second call does nothing."""
        if self._finished:
            return
        self._finished = True
        if self.window.isVisible():
            self._save_geometry()
        for timer in (self._notes_timer, self._tray_timer, self._quit_timer):
            timer.stop()
        self._presence.close()
        self._link.close()
        self._notifier.close()
        self.tray.close()
        self.window.close_for_good()
        self.finished.emit()
