"""Agents: one card each, with its folders, its state and what can be done.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QShowEvent

from agents.contract import AgentAdd, AgentDetail, AgentInfo
from app.desktop.dialogs.asker import Asker
from app.desktop.dialogs.folders import FoldersDialog
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.transport import Trouble
from app.desktop.models.agents import AgentView, agent_view, asks_for_folders
from app.desktop.models.world import Part
from app.desktop.pages.home import REDRAW_AFTER_MS, Now, utc_now
from app.desktop.theme.theme import Theme
from app.desktop.tray import LET_RUN, STOP_ALL
from app.desktop.widgets.agent_card import AgentCard
from app.desktop.widgets.basics import SPACE_L, Label, button, set_role
from app.desktop.widgets.page import Page
from app.desktop.widgets.rows import KeyedRows

SOURCE_LIMIT_BYTES = 200_000  # the contract's


class AgentsPage(Page):
    """Draws the agents, and asks the runtime for each change; the answer comes as an event."""

    open_run = Signal(int)

    def __init__(self, theme: Theme, link: RuntimeLink, asker: Asker, now: Now = utc_now) -> None:
        super().__init__("Agents")
        self._theme, self._link, self._asker, self._now = theme, link, asker, now
        self._folders_dialog: FoldersDialog | None = None
        add = button("Add from a file…")
        add.clicked.connect(self._add_from_file)
        self._switch = button(STOP_ALL)
        self._switch.clicked.connect(self._switch_agents)
        self.head.addWidget(self._switch)
        self.head.addWidget(add)
        self._message = Label(wrap=True, selectable=True)
        self._message.hide()
        self.column.addWidget(self._message)
        self._empty = Label("There is no agent. Add one from its file.", "muted", wrap=True)
        self.column.addWidget(self._empty)
        self._cards = KeyedRows[AgentView, AgentCard](self._make_card, AgentCard.show_agent, spacing=SPACE_L)
        self.column.addWidget(self._cards)
        self.column.addStretch(1)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(REDRAW_AFTER_MS)
        self._redraw.timeout.connect(self.draw)
        link.world_changed.connect(self._world_changed)
        self.draw()

    # --- drawing

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802  Qt's name
        super().showEvent(event)
        self.draw()

    def _world_changed(self, parts: frozenset[Part]) -> None:
        if parts & {Part.AGENTS, Part.STATUS} and self.isVisible() and not self._redraw.isActive():
            self._redraw.start()

    def draw(self) -> None:
        world, now = self._link.world, self._now()
        agents = sorted(world.agents.values(), key=lambda agent: agent.name.lower())
        self._cards.sync((agent.name, agent_view(agent, now)) for agent in agents)
        self._empty.setVisible(world.is_loaded and not agents)
        self._switch.setText(LET_RUN if world.agents_stopped else STOP_ALL)
        self._switch.setVisible(bool(agents) or world.agents_stopped is not None)
        set_role(self._switch, "main" if world.agents_stopped else "", name="kind")

    def _make_card(self, view: AgentView) -> AgentCard:
        card, name = AgentCard(self._theme), view.name
        card.choose_folders.connect(lambda: self.choose_folders(name))
        card.pause_clicked.connect(lambda paused: self._set_paused(name, paused))
        card.run_clicked.connect(lambda: self._run(name))
        card.remove_clicked.connect(lambda: self._remove(name))
        card.open_run.connect(self.open_run)
        return card

    def _tell(self, text: str, role: str = "muted") -> None:
        self._message.show_text(text)
        set_role(self._message, role)

    def _fail(self, trouble: Trouble) -> None:
        self._tell(trouble.message, "danger")

    # --- asking

    def choose_folders(self, name: str | None = None) -> None:
        """Opens the dialog for an agent, by default for the first that has no folder."""
        agents = self._link.world.agents
        without = (agent.name for agent in agents.values() if asks_for_folders(agent))
        agent = agents.get(name or next(without, next(iter(agents), "")))
        if agent is None or self._folders_dialog is not None:
            return
        dialog = FoldersDialog(
            agent.name,
            ", ".join(agent.patterns),
            list(agent.folders),
            self._asker,
            lambda folders: self._save_folders(agent, folders),
            self,
        )
        self._folders_dialog = dialog
        dialog.finished.connect(self._folders_closed)
        dialog.open()

    def _folders_closed(self) -> None:
        if self._folders_dialog is not None:
            self._folders_dialog.deleteLater()
            self._folders_dialog = None

    def _save_folders(self, agent: AgentInfo, folders: list[str]) -> None:
        def saved(_detail: AgentDetail) -> None:
            if self._folders_dialog is not None:
                self._folders_dialog.accept()
            self._tell(f"{agent.name} now watches what you chose.")

        def failed(trouble: Trouble) -> None:
            if self._folders_dialog is not None:
                self._folders_dialog.refuse(trouble.message)
            else:
                self._fail(trouble)

        self._link.api.choose_folders(agent.name, folders, saved, failed)

    def _set_paused(self, name: str, paused: bool) -> None:
        done = f"{name} is paused: new files wait." if paused else f"{name} goes on."
        self._link.api.set_paused(name, paused, lambda _agent: self._tell(done), self._fail)

    def _switch_agents(self) -> None:
        stopped = self._link.world.agents_stopped is None
        said = "All agents are stopped, over restarts too." if stopped else "The agents are at work again."
        self._link.api.switch_agents(stopped, lambda _switched: self._tell(said), self._fail)

    def _run(self, name: str) -> None:
        self._tell(f"{name} begins…")
        self._link.api.run_agent(name, None, lambda answer: self._tell(answer.message), self._fail)

    def _remove(self, name: str) -> None:
        question = f"Remove the agent {name}?"
        detail = "It stops watching. What it has written so far stays readable."
        if self._asker.confirm(question, detail, "Remove", danger=True):
            self._link.api.remove_agent(name, lambda _none: self._tell(f"{name} was removed."), self._fail)

    # --- an agent's file

    def _add_from_file(self) -> None:
        path = self._asker.pick_file("Add an agent from its file", "Agent files (*.md);;All files (*)")
        if path is None:
            return
        source = read_source(path)
        if source is None:
            self._tell(
                "This file can't be read as an agent: it must be UTF-8 text of at most 200 kB.", "danger"
            )
            return
        self._add(AgentAdd(source=source))

    def _add(self, body: AgentAdd) -> None:
        def failed(trouble: Trouble) -> None:
            if trouble.code == "needs_consent" and not body.accept:
                asks = [str(each) for each in trouble.details.get("asks", [])]
                self._ask_consent(body, asks)
            elif trouble.code == "conflict" and not body.replace:
                detail = "Its runs and results stay; the file becomes its next revision."
                if self._asker.confirm(trouble.message, detail, "Replace it"):
                    self._add(body.model_copy(update={"replace": True}))
            else:
                self._fail(trouble)

        self._link.api.add_agent(body, lambda detail: self._tell(f"{detail.name} was added."), failed)

    def _ask_consent(self, body: AgentAdd, asks: list[str]) -> None:
        wants = "\n".join(f"•  {each}" for each in asks) or "•  nothing beyond what it has"
        if self._asker.confirm("This agent asks to:", wants, "Allow and add"):
            self._add(body.model_copy(update={"accept": True}))
        else:
            self._tell("The agent was not added.")


def read_source(path: str) -> str | None:
    """An agent's file as text; None when it can't be one."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(SOURCE_LIMIT_BYTES + 1)
        return data.decode("utf-8-sig") if len(data) <= SOURCE_LIMIT_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
