"""The card of one agent: what it does, where, how it stands, and its buttons."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QMenu, QToolButton

from app.desktop.models.agents import AgentView
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
from app.desktop.widgets.rows import KeyedRows, RowButton


class AgentCard(Card):
    """Shows an AgentView; says which button was pressed."""

    choose_folders = Signal()
    pause_clicked = Signal(bool)  # True: pause
    run_clicked = Signal()
    remove_clicked = Signal()
    open_run = Signal(int)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._view: AgentView | None = None
        self._name = Label(scale=1.2, bold=True, wrap=True)
        self._state_icon = IconLabel(theme)
        self._state = Label(bold=True)
        row(self._name, 1, self._state_icon, self._state, self._make_menu(theme), parent=self.box)
        self._description = Label(role="muted", wrap=True)
        self._problem = Label(role="danger", wrap=True, selectable=True)
        self._no_folder = Label(
            "It watches no folder yet. Choose one, and it reads each document that arrives there.", wrap=True
        )
        self._folders = KeyedRows[str, ElidedLabel](
            lambda folder: ElidedLabel(folder, mode=Qt.TextElideMode.ElideMiddle),
            lambda _label, _text: None,
            spacing=2,
        )
        self._patterns = Label(role="muted", wrap=True)
        self._wakes = KeyedRows[str, Label](
            lambda text: Label(text[:1].upper() + text[1:], wrap=True), lambda _label, _text: None, spacing=2
        )
        self._next_due = Label(bold=True)
        self._counts = Label(role="muted")
        self._last_run = RowButton(theme)
        self._last_run.clicked.connect(self._open_last_run)
        for each in (self._description, self._problem, self._no_folder, self._folders, self._patterns):
            self.box.addWidget(each)
        for due in (self._wakes, self._next_due):
            self.box.addWidget(due)
        for below in (self._counts, self._last_run):
            self.box.addWidget(below)
        self.box.addSpacing(SPACE)
        self._choose = button("Choose folders…")
        self._choose.clicked.connect(self.choose_folders)
        self._pause = button("Pause")
        self._pause.clicked.connect(self._pause_or_resume)
        self._run = button("Run now")
        self._run.clicked.connect(self.run_clicked)
        row(self._choose, self._run, self._pause, 1, parent=self.box)

    def _make_menu(self, theme: Theme) -> IconButton:
        more = IconButton(theme, "dots-three", "More")
        menu = QMenu(more)
        menu.addAction("Remove this agent…", self.remove_clicked.emit)
        more.setMenu(menu)
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return more

    def show_agent(self, view: AgentView) -> None:
        self._view = view
        self.setAccessibleName(f"{view.name}, {view.state}")
        self._name.setText(view.name)
        self._state_icon.show_icon(view.icon, view.role)
        self._state.setText(view.state)
        set_role(self._state, view.role)
        self._description.show_text(view.description)
        self._problem.show_text(view.problem)
        self._no_folder.setVisible(view.asks_for_folders)
        self._folders.sync((folder, folder) for folder in view.folders)
        self._patterns.show_text(view.patterns if view.folders else "")
        self._wakes.sync((each, each) for each in view.wakes)
        self._wakes.setVisible(bool(view.wakes))
        self._next_due.show_text(view.next_due)
        self._counts.show_text(" · ".join(part for part in (view.counts, view.wakings) if part))
        self._last_run.setVisible(bool(view.last_run))
        self._last_run.show_words("Last run", view.last_run, icon="clock", role="muted")
        self._choose.setVisible(bool(view.folders) or view.asks_for_folders)
        set_role(self._choose, "main" if view.asks_for_folders else "", name="kind")
        self._pause.setText("Resume" if view.paused else "Pause")
        self._pause.setVisible(not view.asks_for_folders)
        self._run.setVisible(not view.asks_for_folders)
        self._run.setEnabled(view.can_run)
        self._run.setToolTip(view.run_tooltip)

    def _pause_or_resume(self) -> None:
        if self._view is not None:
            self.pause_clicked.emit(not self._view.paused)

    def _open_last_run(self) -> None:
        if self._view is not None and self._view.last_run_id is not None:
            self.open_run.emit(self._view.last_run_id)
