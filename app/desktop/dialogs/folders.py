"""Chooses the folders that an agent watches and may read; pressing the button is the consent.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QDialog, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from app.desktop.dialogs.asker import Asker
from app.desktop.widgets.basics import SPACE, SPACE_L, SPACE_XL, Label, button, row


class FoldersDialog(QDialog):
    """`save` gets the chosen folders and answers through `accept` or `refuse`."""

    def __init__(
        self,
        agent: str,
        patterns: str,
        folders: list[str],
        asker: Asker,
        save: Callable[[list[str]], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._asker, self._save = asker, save
        self.setWindowTitle("Choose folders")
        box = QVBoxLayout(self)
        box.setContentsMargins(SPACE_XL, SPACE_XL, SPACE_XL, SPACE_XL)
        box.setSpacing(SPACE + 4)
        box.addWidget(Label(f"Folders for {agent}", scale=1.2, bold=True, wrap=True))
        box.addWidget(
            Label(
                f"The agent may read these folders and what lies in them, and watches them for {patterns}. "
                "It never writes there, and nothing leaves this machine.",
                "muted",
                wrap=True,
            )
        )
        self._list = QListWidget()
        self._list.setAccessibleName("Chosen folders")
        self._list.setProperty("kind", "box")
        self._list.itemSelectionChanged.connect(self._draw)
        for folder in folders:
            self._list.addItem(folder)
        box.addWidget(self._list, 1)
        self._add = button("Add a folder…")
        self._add.clicked.connect(self._add_folder)
        self._remove = button("Remove")
        self._remove.clicked.connect(self._remove_folder)
        row(self._add, self._remove, 1, parent=box)
        self._problem = Label(role="danger", wrap=True, selectable=True)
        self._problem.hide()
        box.addWidget(self._problem)
        box.addSpacing(SPACE)
        cancel = button("Cancel")
        cancel.clicked.connect(self.reject)
        self._ok = button("Watch these folders", "main")
        self._ok.setDefault(True)
        self._ok.clicked.connect(self._save_folders)
        row(1, cancel, self._ok, spacing=SPACE, parent=box)
        em = self.fontMetrics().averageCharWidth()
        self.resize(em * 72, em * 48 + SPACE_L)
        self._draw()

    @property
    def folders(self) -> list[str]:
        return [self._list.item(place).text() for place in range(self._list.count())]

    def refuse(self, sentence: str) -> None:
        """The runtime can't watch one of them."""
        self._problem.show_text(sentence)
        self._ok.setEnabled(True)

    def _draw(self) -> None:
        self._remove.setEnabled(self._list.currentRow() >= 0 and self._list.count() > 0)
        self._ok.setEnabled(self._list.count() > 0)

    def _add_folder(self) -> None:
        folder = self._asker.pick_folder("Add a folder")
        if folder is not None and folder not in self.folders:
            item = QListWidgetItem(folder)
            self._list.addItem(item)
            self._list.setCurrentItem(item)
            self._problem.show_text("")
        self._draw()

    def _remove_folder(self) -> None:
        self._list.takeItem(self._list.currentRow())
        self._problem.show_text("")
        self._draw()

    def _save_folders(self) -> None:
        self._ok.setEnabled(False)
        self._save(self.folders)
