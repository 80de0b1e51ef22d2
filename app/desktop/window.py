"""The window: the rail, a banner when something is wrong, and the pages.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QCloseEvent, QIcon, QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from app.desktop.dialogs.asker import Asker
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState
from app.desktop.pages.agents import AgentsPage
from app.desktop.pages.chat import ChatPage
from app.desktop.pages.home import HomePage
from app.desktop.pages.run import RunPage
from app.desktop.pages.waiting import VERBS, WaitingPage
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, SPACE_L, Card, Label, button, row
from app.desktop.widgets.rail import Rail

PAGES = (("home", "Home", "house"), ("chat", "Chat", "chat-circle"), ("agents", "Agents", "robot"))


class MainWindow(QMainWindow):
    """Knows which page is shown; what closing and quitting mean is decided by the shell."""

    close_asked = Signal()
    quit_asked = Signal()
    help_asked = Signal()  # the button of the banner or of the waiting page
    shown_or_hidden = Signal(bool)

    def __init__(self, theme: Theme, link: RuntimeLink, icons: Path, asker: Asker | None = None) -> None:
        super().__init__()
        self._link = link
        self._may_close = False
        self._came_from = "home"  # where Back leads from a run
        self.setWindowTitle("Hearth")
        asker = asker or Asker(self)
        self.asker = asker
        self.rail = Rail(theme, QIcon(str(icons / "hearth-256.png")), PAGES)
        self.home = HomePage(theme, link)
        self.chat = ChatPage(theme, link, asker)
        self.agents = AgentsPage(theme, link, asker)
        self.run = RunPage(theme, link, asker)
        self.waiting = WaitingPage(icons)
        self.pages = QStackedWidget()
        for page in (self.home, self.chat, self.agents, self.run, self.waiting):
            self.pages.addWidget(page)
        self._named = {"home": self.home, "chat": self.chat, "agents": self.agents}
        self._wanted: QWidget = self.home  # shown as soon as there is something to show
        self._make_banner()
        self._lay_out()
        self._connect()
        em = self.fontMetrics().averageCharWidth()
        self.setMinimumSize(em * 96, em * 60)
        self.resize(em * 158, em * 106)
        self.show_state(link.state, link.sentence)

    def _make_banner(self) -> None:
        self._banner = Card("banner", margin=SPACE)
        self._banner.setAccessibleName("Notice")
        self._banner_text = Label(wrap=True, selectable=True)
        self._banner_button = button("")
        self._banner_button.clicked.connect(self.help_asked)
        line = row(self._banner_text, self._banner_button, spacing=SPACE_L, parent=self._banner.box)
        line.setStretch(0, 1)
        line.setContentsMargins(SPACE, 0, SPACE, 0)
        self._banner.hide()

    def _lay_out(self) -> None:
        right = QVBoxLayout()
        right.setSpacing(0)
        right.addWidget(self._banner)
        right.addWidget(self.pages, 1)
        centre = QFrame()
        outer = QHBoxLayout(centre)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self.rail)
        outer.addLayout(right, 1)
        self.setCentralWidget(centre)

    def _connect(self) -> None:
        self.rail.chosen.connect(self.show_page)
        self.rail.quit_chosen.connect(self.quit_asked)
        self.waiting.pressed.connect(self.help_asked)
        self.home.open_run.connect(self.show_run)
        self.agents.open_run.connect(self.show_run)
        self.run.run_started.connect(self.show_run)
        self.run.back.connect(lambda: self.show_page(self._came_from))
        self.home.choose_folders.connect(self._choose_folders)
        for place, (key, _name, _icon) in enumerate(PAGES, start=1):
            self._shortcut(f"Ctrl+{place}").activated.connect(lambda key=key: self.show_page(key))
        self._shortcut("Ctrl+N").activated.connect(self._new_conversation)
        self._shortcut("Ctrl+W").activated.connect(self.close)
        self._shortcut("Ctrl+Q").activated.connect(self.quit_asked)
        self._shortcut("Alt+Left").activated.connect(self._go_back)

    def _shortcut(self, keys: str) -> QShortcut:
        return QShortcut(QKeySequence(keys), self)

    # --- pages

    @property
    def page_name(self) -> str:
        """`home`, `chat`, `agents` or `run`."""
        return next((name for name, page in self._named.items() if page is self._wanted), "run")

    def show_page(self, name: str) -> None:
        self._want(self._named[name])
        self.rail.select(name)

    def show_run(self, run_id: int) -> None:
        if self._wanted is not self.run:
            self._came_from = self.page_name
        self.run.show_run(run_id)
        self._want(self.run)
        self.rail.select(None)

    def _want(self, page: QWidget) -> None:
        self._wanted = page
        if self._link.world.is_loaded:
            self.pages.setCurrentWidget(page)

    def _go_back(self) -> None:
        if self._wanted is self.run:
            self.show_page(self._came_from)

    def _new_conversation(self) -> None:
        self.show_page("chat")
        self.chat.new_conversation()

    def _choose_folders(self) -> None:
        self.show_page("agents")
        self.agents.choose_folders()

    # --- the state of the line

    def show_state(self, state: LinkState, sentence: str) -> None:
        """Before the first state is there, a page says what is going on; later a banner does."""
        loaded = self._link.world.is_loaded
        self.rail.setEnabled(loaded)
        self.pages.setCurrentWidget(self._wanted if loaded else self.waiting)
        self.rail.select(self.page_name if loaded and self._wanted is not self.run else None)
        self.waiting.show_state(state, sentence)
        texts = {
            LinkState.CONNECTING: "Connecting…",
            LinkState.STARTING: "Starting…",
            LinkState.RECONNECTING: "Reconnecting… What you see may be a moment old.",
            LinkState.STOPPED: "Hearth is stopped; agents do not work until it is started again.",
            LinkState.NEEDS_KEY: sentence,
            LinkState.FAILED: sentence,
        }
        text = texts.get(state, "") if loaded else ""
        self._banner_text.setText(text)
        self._banner_button.setText(VERBS.get(state, ""))
        self._banner_button.setVisible(state in VERBS)
        self._banner.setVisible(bool(text))

    # --- showing and closing

    def raise_up(self) -> None:
        """Shows the window in front, whatever it was before."""
        if self.isMinimized():
            self.showNormal()
        self.show()
        self.raise_()
        self.activateWindow()

    def close_for_good(self) -> None:
        self._may_close = True
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802  Qt's name
        if self._may_close:
            event.accept()
            return
        event.ignore()
        self.close_asked.emit()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            self.shown_or_hidden.emit(event.type() is QEvent.Type.Show)
        return super().event(event)
