"""The list of conversations, with a way to begin one and to delete one.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QMenu, QVBoxLayout, QWidget

from agents.contract import ConversationInfo
from app.desktop.models import words
from app.desktop.theme.theme import Theme
from app.desktop.widgets.basics import SPACE, Label, button, plain_tooltip, row

_ID = Qt.ItemDataRole.UserRole


class ConversationList(QWidget):
    """Last used first, as the runtime gives them."""

    chosen = Signal(int)
    new_clicked = Signal()
    delete_clicked = Signal(int, str)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._new = button("New")
        self._new.setToolTip("New conversation (Ctrl+N)")
        self._new.setAccessibleName("New conversation")
        self._new.clicked.connect(self.new_clicked)
        self._list = QListWidget()
        self._list.setAccessibleName("Conversations")
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setUniformItemSizes(True)
        self._list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._list.customContextMenuRequested.connect(self._show_menu)
        self._list.currentItemChanged.connect(self._choose)
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self._list)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self._delete_current)
        self._delete = button("Delete…")
        self._delete.setAccessibleName("Delete this conversation")
        self._delete.clicked.connect(self._delete_current)
        self._empty = Label("No conversation yet.", "muted", wrap=True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(SPACE)
        row(Label("Chat", scale=1.6, bold=True), 1, self._new, parent=box)
        box.addWidget(self._empty)
        box.addWidget(self._list, 1000)
        box.addStretch(1)
        row(self._delete, 1, parent=box)
        self.show_conversations([], None)

    @property
    def titles(self) -> list[str]:
        return [self._list.item(place).text() for place in range(self._list.count())]

    def show_conversations(self, conversations: list[ConversationInfo], open_id: int | None) -> None:
        self._list.blockSignals(True)
        self._list.clear()
        for each in conversations:
            title = words.one_line(each.title, 120) or "Untitled"
            item = QListWidgetItem(title)
            item.setData(_ID, each.id)
            item.setToolTip(plain_tooltip(title))
            self._list.addItem(item)
        self._list.blockSignals(False)
        self._empty.setVisible(not conversations)
        self._list.setVisible(bool(conversations))
        self.select(open_id)

    def select(self, conversation_id: int | None) -> None:
        """Marks a conversation without opening it."""
        self._list.blockSignals(True)
        self._list.setCurrentRow(-1)
        for place in range(self._list.count()):
            if self._list.item(place).data(_ID) == conversation_id:
                self._list.setCurrentRow(place)
        self._list.blockSignals(False)
        self._delete.setVisible(self._list.currentItem() is not None)

    def _choose(self, item: QListWidgetItem | None) -> None:
        self._delete.setVisible(item is not None)
        if item is not None:
            self.chosen.emit(item.data(_ID))

    def _delete_current(self) -> None:
        item = self._list.currentItem()
        if item is not None:
            self.delete_clicked.emit(item.data(_ID), item.text())

    def _show_menu(self, at: QPoint) -> None:
        item = self._list.itemAt(at)
        if item is None:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        conversation_id, title = item.data(_ID), item.text()
        menu.addAction("Delete…", lambda: self.delete_clicked.emit(conversation_id, title))
        menu.popup(self._list.viewport().mapToGlobal(at))
