"""Home: what runs, what is next, what came out.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QProgressBar

from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.models import words
from app.desktop.models.home import HomeView, OutcomeRow, RunningRow, WaitingRow, home_view
from app.desktop.models.world import Part
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, Card, IconLabel, Label, button, row
from app.desktop.widgets.page import Page
from app.desktop.widgets.rows import KeyedRows, RowButton

CLOCK_EVERY_MS = 1_000
REDRAW_AFTER_MS = 60  # a burst of events is one redraw

Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class HomePage(Page):
    """Draws the world; asks for nothing but another try of the engine."""

    open_run = Signal(int)
    choose_folders = Signal()

    def __init__(self, theme: Theme, link: RuntimeLink, now: Now = utc_now) -> None:
        super().__init__("Home")
        self._theme, self._link, self._now = theme, link, now
        self._engine_icon = IconLabel(theme, "fire", "muted")
        self._engine = Label(role="muted")
        row(self._engine_icon, self._engine, 1, parent=self.column)
        self._notices = KeyedRows[str, Card](self._make_notice, lambda _card, _text: None, spacing=SPACE)
        self.column.addWidget(self._notices)
        self._set_aside = self._make_set_aside()
        self._fill_running()
        self._fill_next()
        self._fill_results()
        self.column.addStretch(1)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(REDRAW_AFTER_MS)
        self._redraw.timeout.connect(self.draw)
        self._clock = QTimer(self)
        self._clock.setInterval(CLOCK_EVERY_MS)
        self._clock.timeout.connect(self.draw)
        link.world_changed.connect(self._world_changed)
        self.draw()

    # --- the parts

    def _make_notice(self, text: str) -> Card:
        card = Card("notice", margin=SPACE + 4)
        card.box.addWidget(Label(text, wrap=True, selectable=True))
        return card

    def _make_set_aside(self) -> Card:
        card = Card("bad", margin=SPACE + 4)
        self._set_aside_reason = Label(wrap=True, selectable=True)
        again = button("Try the model again")
        again.clicked.connect(self._retry_engine)
        card.box.addWidget(self._set_aside_reason)
        row(again, 1, parent=card.box)
        self.column.addWidget(card)
        return card

    def _fill_running(self) -> None:
        card = Card()
        card.box.addWidget(Label("RUNNING", "section"))
        self._nothing_runs = Label("Nothing is running at the moment.", "muted", wrap=True)
        self._running = KeyedRows[RunningRow, RunningRowButton](self._make_running, self._show_running)
        card.box.addWidget(self._nothing_runs)
        card.box.addWidget(self._running)
        self.column.addWidget(card)

    def _fill_next(self) -> None:
        card = Card()
        card.box.addWidget(Label("NEXT", "section"))
        self._watching = Label(wrap=True)
        self._looks = Label(role="muted", wrap=True)
        self._empty_next = Label(
            "No folder is watched yet. Choose one: each document that arrives there is read, "
            "and its summary appears here.",
            wrap=True,
        )
        self._choose = button("Choose a folder…", "main")
        self._choose.clicked.connect(self.choose_folders)
        self._problems = KeyedRows[str, Label](
            lambda text: Label(text, "danger", wrap=True, selectable=True),
            lambda _label, _text: None,
            spacing=SPACE,
        )
        self._waiting = KeyedRows[WaitingRow, RowButton](self._make_waiting, self._show_waiting)
        self._more = Label(role="muted")
        for each in (self._watching, self._looks, self._empty_next):
            card.box.addWidget(each)
        row(self._choose, 1, parent=card.box)
        for below in (self._problems, self._waiting, self._more):
            card.box.addWidget(below)
        self.column.addWidget(card)

    def _fill_results(self) -> None:
        card = Card()
        card.box.addWidget(Label("RESULTS", "section"))
        self._no_results = Label(
            "Nothing came out yet. Results appear here as soon as a run ends.", "muted", wrap=True
        )
        self._outcomes = KeyedRows[OutcomeRow, RowButton](self._make_outcome, self._show_outcome)
        card.box.addWidget(self._no_results)
        card.box.addWidget(self._outcomes)
        self.column.addWidget(card)

    # --- drawing

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self._clock.start()
        self.draw()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802  Qt's name
        super().hideEvent(event)
        self._clock.stop()

    def _world_changed(self, _parts: frozenset[Part]) -> None:
        if self.isVisible() and not self._redraw.isActive():
            self._redraw.start()

    def draw(self) -> None:
        """Shows the world as it is now."""
        world = self._link.world
        view = home_view(world, self._now())
        self._draw_engine()
        notices = list(dict.fromkeys(self._notice_texts()))
        self._notices.sync((text, text) for text in notices)
        self._draw_running(view)
        self._draw_next(view)
        self._outcomes.sync((outcome.key, outcome) for outcome in view.outcomes)
        self._no_results.setVisible(not view.outcomes)

    def _notice_texts(self) -> list[str]:
        status = self._link.world.status
        engine_notice = status.engine.notice if status else None
        return [text for text in (engine_notice, *self._link.world.notices) if text]

    def _draw_engine(self) -> None:
        status = self._link.world.status
        set_aside = status is not None and status.engine.state == "set_aside"
        self._set_aside.setVisible(set_aside)
        if status is None:
            self._engine.show_text("Starting…")
            return
        self._engine.show_text(words.engine_line(status.engine))
        busy = status.engine.state == "busy"
        self._engine_icon.show_icon("warning" if set_aside else "fire", "accent" if busy else "muted")
        if set_aside:
            self._set_aside_reason.setText(status.engine.reason or "The model was set aside after it failed.")

    def _draw_running(self, view: HomeView) -> None:
        self._nothing_runs.setVisible(not view.running)
        self._running.sync((each.run_id, each) for each in view.running)

    def _draw_next(self, view: HomeView) -> None:
        self._watching.show_text(view.watching)
        self._looks.show_text(view.looks)
        self._empty_next.setVisible(view.needs_folder)
        self._choose.setVisible(view.needs_folder)
        self._problems.sync((text, text) for text in view.problems)
        self._waiting.sync((each.run_id, each) for each in view.waiting)
        self._more.show_text(
            f"and {words.counted(view.waiting_more, 'more file')}" if view.waiting_more else ""
        )

    # --- rows

    def _make_running(self, item: RunningRow) -> RunningRowButton:
        made = RunningRowButton(self._theme)
        made.clicked.connect(lambda: self.open_run.emit(item.run_id))
        return made

    def _show_running(self, shown: RunningRowButton, item: RunningRow) -> None:
        since = (self._now() - item.started_at).total_seconds() if item.started_at else None
        side = words.elapsed(since) if since is not None else ""
        shown.show_words(item.title, item.detail, side=side, icon="fire", role="accent")
        shown.show_share(item.share)

    def _make_waiting(self, item: WaitingRow) -> RowButton:
        made = RowButton(self._theme)
        made.clicked.connect(lambda: self.open_run.emit(item.run_id))
        return made

    def _show_waiting(self, shown: RowButton, item: WaitingRow) -> None:
        shown.show_words(item.title, item.detail, icon="clock", role="muted")

    def _make_outcome(self, item: OutcomeRow) -> RowButton:
        made = RowButton(self._theme)
        made.clicked.connect(lambda: self.open_run.emit(item.run_id))
        return made

    def _show_outcome(self, shown: RowButton, item: OutcomeRow) -> None:
        shown.show_words(
            item.title,
            item.detail,
            chip=item.category,
            side=words.clock_time(item.at, self._now()),
            icon="warning-circle" if item.failed else "file-text",
            role="danger" if item.failed else "ok",
            detail_role="danger" if item.failed else "muted",
        )

    # --- asking

    def _retry_engine(self) -> None:
        self._link.api.retry_engine(
            lambda _engine: self._link.refresh_status(),
            lambda trouble: self._set_aside_reason.setText(trouble.message),
        )


class RunningRowButton(RowButton):
    """A row with a bar that shows how much of the prompt is read."""

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme)
        self._bar = QProgressBar()
        self._bar.setRange(0, 100)
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName("Reading")
        self.text_box.addSpacing(SPACE // 2)
        self.text_box.addWidget(self._bar)

    def show_share(self, share: float | None) -> None:
        self._bar.setVisible(share is not None)
        if share is not None:
            self._bar.setValue(round(share * 100))
