"""One run: its steps as they happen, its result, and what can be done with it.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from agents.contract import Event, ResultInfo, RunDetail, RunsStarted
from app.desktop.dialogs.asker import Asker
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState
from app.desktop.link.transport import Trouble
from app.desktop.models import words
from app.desktop.models.run import RunModel, StepRow
from app.desktop.pages.home import CLOCK_EVERY_MS, REDRAW_AFTER_MS, Now, utc_now
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import (
    SPACE,
    Card,
    ElidedLabel,
    IconButton,
    IconLabel,
    Label,
    button,
    row,
    set_role,
)
from app.desktop.widgets.page import Page
from app.desktop.widgets.rows import KeyedRows


class RunPage(Page):
    """Shows one run at a time; `show_run` chooses it."""

    back = Signal()
    run_started = Signal(int)

    def __init__(self, theme: Theme, link: RuntimeLink, asker: Asker, now: Now = utc_now) -> None:
        super().__init__("Run")
        self._theme, self._link, self._asker, self._now = theme, link, asker, now
        self._run_id: int | None = None
        self._model: RunModel | None = None
        back = IconButton(theme, "arrow-left", "Back")
        back.clicked.connect(self.back)
        self.head.insertWidget(0, back)
        self.title.setWordWrap(True)
        self._status_icon = IconLabel(theme)
        self._status = Label(bold=True)
        self._facts = Label(role="muted", wrap=True)
        self._waking = Label(role="muted", wrap=True, selectable=True)
        row(self._status_icon, self._status, 1, parent=self.column)
        self.column.addWidget(self._facts)
        self.column.addWidget(self._waking)
        self._message = Label(wrap=True, selectable=True)
        self.column.addWidget(self._message)
        self._fill_buttons()
        self._result_card = ResultCard()
        self.column.addWidget(self._result_card)
        self._fill_steps()
        self.column.addStretch(1)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(REDRAW_AFTER_MS)
        self._redraw.timeout.connect(self.draw)
        self._clock = QTimer(self)
        self._clock.setInterval(CLOCK_EVERY_MS)
        self._clock.timeout.connect(self.draw)
        link.happened.connect(self._take_event)
        link.state_changed.connect(self._link_changed)
        self.draw()

    def _fill_buttons(self) -> None:
        self._open = button("Open file")
        self._open.clicked.connect(self._open_file)
        self._again = button("Run again")
        self._again.clicked.connect(self._run_again)
        self._cancel = button("Cancel this run", "danger")
        self._cancel.clicked.connect(self._cancel_run)
        row(self._open, self._again, self._cancel, 1, parent=self.column)

    def _fill_steps(self) -> None:
        card = Card()
        card.box.addWidget(Label("STEPS", "section"))
        self._no_steps = Label(
            "It has not begun yet; its steps appear here as they happen.", "muted", wrap=True
        )
        self._steps = KeyedRows[StepRow, StepWidget](
            lambda _row: StepWidget(self._theme), StepWidget.show_step, spacing=SPACE
        )
        card.box.addWidget(self._no_steps)
        card.box.addWidget(self._steps)
        self.column.addWidget(card)

    # --- which run

    @property
    def shows_run(self) -> int | None:
        """The run that is loaded and drawn."""
        return self._run_id if self._model is not None else None

    def show_run(self, run_id: int) -> None:
        if run_id != self._run_id:
            self._model = None
        self._run_id = run_id
        self._message.show_text("")
        self.draw()
        self._load()

    def _load(self) -> None:
        run_id = self._run_id
        if run_id is None:
            return

        def loaded(detail: RunDetail) -> None:
            if run_id == self._run_id:
                self._model = RunModel(detail)
                self.draw()

        def failed(trouble: Trouble) -> None:
            if run_id == self._run_id:
                self._tell(trouble)

        self._link.api.run(run_id, loaded, failed)

    def _take_event(self, event: Event) -> None:
        if self._model is None:
            return
        was_alive = self._model.is_alive
        if not self._model.apply(event):
            return
        if was_alive and not self._model.is_alive:
            self._load()  # the result and the last numbers
        if self.isVisible() and not self._redraw.isActive():
            self._redraw.start()

    def _link_changed(self, state: LinkState) -> None:
        if state is LinkState.CONNECTED:
            self._load()

    # --- drawing

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self._clock.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802  Qt's name
        super().hideEvent(event)
        self._clock.stop()

    def draw(self) -> None:
        model = self._model
        shown = (
            self._status_icon,
            self._status,
            self._facts,
            self._waking,
            self._open,
            self._again,
            self._cancel,
        )
        for each in shown:
            each.setVisible(model is not None)
        if model is None:
            self.title.setText("Loading…" if self._run_id is not None else "Run")
            self._result_card.hide()
            self._steps.sync(())
            self._no_steps.hide()
            return
        run, now = model.run, self._now()
        self.title.setText(words.run_subject(run))
        self._status_icon.show_icon(words.STATUS_ICONS[run.status], words.STATUS_ROLES[run.status])
        self._status.setText(words.STATUS_WORDS[run.status])
        set_role(self._status, words.STATUS_ROLES[run.status])
        self._facts.setText(model.facts(now))
        self._waking.setText("\n".join(model.waking(now)))
        if run.reason:
            self._message.show_text(run.reason)
            set_role(self._message, "danger" if run.status == "failed" else "muted")
        self._open.setVisible(bool(run.file))
        self._again.setVisible(not model.is_alive)
        self._cancel.setVisible(model.is_alive)
        self._result_card.show_result(model.result)
        rows = model.rows(now)
        self._steps.sync((each.seq, each) for each in rows)
        self._no_steps.setVisible(not rows)

    # --- asking

    def _tell(self, trouble: Trouble) -> None:
        self._message.show_text(trouble.message)
        set_role(self._message, "danger")

    def _open_file(self) -> None:
        if (
            self._model is not None
            and self._model.run.file
            and not self._asker.open_file(self._model.run.file)
        ):
            self._message.show_text("The file can't be opened: it was moved, or no program is set for it.")
            set_role(self._message, "danger")

    def _cancel_run(self) -> None:
        if self._run_id is not None:
            self._link.api.cancel_run(self._run_id, lambda _run: None, self._tell)

    def _run_again(self) -> None:
        def started(answer: RunsStarted) -> None:
            if answer.runs:
                self.run_started.emit(answer.runs[0].id)
            else:
                self._message.show_text(answer.message)
                set_role(self._message, "muted")

        if self._model is None:
            return
        run = self._model.run
        if run.file:
            self._link.api.run_agent(run.agent, run.file, started, self._tell)
        else:
            self._link.api.retry_run(run.id, lambda again: self.run_started.emit(again.id), self._tell)


class ResultCard(Card):
    """What a run handed over."""

    def __init__(self) -> None:
        super().__init__()
        self.box.addWidget(Label("RESULT", "section"))
        self._title = Label(scale=1.2, bold=True, wrap=True, selectable=True)
        self._category = Label(role="chip")
        self._summary = Label(wrap=True, selectable=True)
        self._actions_title = Label("ACTION ITEMS", "section")
        self._actions = KeyedRows[str, ActionItem](ActionItem, lambda _item, _text: None, spacing=SPACE)
        self.box.addWidget(self._title)
        row(self._category, 1, parent=self.box)
        self.box.addWidget(self._summary)
        self.box.addSpacing(SPACE)
        self.box.addWidget(self._actions_title)
        self.box.addWidget(self._actions)

    def show_result(self, result: ResultInfo | None) -> None:
        self.setVisible(result is not None)
        if result is None:
            return
        self._title.setText(words.one_line(result.title) or "Untitled")
        self._category.show_text(words.one_line(result.category, 24))
        self._summary.setText(result.summary.strip())
        self._actions_title.setVisible(bool(result.action_items))
        self._actions.sync((item, item) for item in result.action_items)


class ActionItem(QWidget):
    """One action item with a mark in front."""

    def __init__(self, text: str) -> None:
        super().__init__()
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(SPACE)
        mark = Label("•", "accent", bold=True)
        box.addWidget(mark)
        box.addWidget(Label(words.one_line(text, 2_000), wrap=True, selectable=True), 1)
        box.setAlignment(mark, Qt.AlignmentFlag.AlignTop)


class StepWidget(QWidget):
    """One step: what, when, how long, how many tokens, and what went wrong."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._icon = IconLabel(theme)
        self._title = ElidedLabel(bold=True)
        self._at = Label(role="muted")
        self._side = Label(role="muted")
        self._detail = Label(role="muted", wrap=True, selectable=True)
        self._error = Label(role="danger", wrap=True, selectable=True)
        self._bar = QProgressBar()
        self._bar.setRange(0, 100)
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName("Reading")
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(SPACE + 4)
        outer.addWidget(self._icon)
        outer.setAlignment(self._icon, Qt.AlignmentFlag.AlignTop)
        text = QVBoxLayout()
        text.setSpacing(2)
        row(self._title, self._side, self._at, spacing=SPACE * 2, parent=text)
        for each in (self._detail, self._bar, self._error):
            text.addWidget(each)
        outer.addLayout(text, 1)

    def show_step(self, step: StepRow) -> None:
        self._icon.show_icon(step.icon, step.role)
        self._title.setText(step.title)
        self._at.setText(step.at)
        self._side.setText(step.side)
        self._detail.show_text(step.detail)
        self._error.show_text(step.error)
        self._bar.setVisible(step.share is not None)
        if step.share is not None:
            self._bar.setValue(round(step.share * 100))
