"""What the runtime needs from the user: its key, and that the recovery code is written down.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from agents.contract import RecoveryCode
from agents.paths import HomePaths
from app.desktop.dialogs.asker import Asker
from app.desktop.dialogs.key import KeyDialog
from app.desktop.dialogs.recovery import RecoveryDialog
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState


class Prompts(QObject):
    """`look` opens the dialog that is due, if any; nothing is asked while nobody looks at the window."""

    def __init__(
        self, paths: HomePaths, link: RuntimeLink, window: QWidget, asker: Asker, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._paths, self._link, self._window, self._asker = paths, link, window, asker
        self._key_dialog: KeyDialog | None = None
        self._recovery_dialog: RecoveryDialog | None = None

    def look(self) -> None:
        if not self._window.isVisible():
            return
        status = self._link.world.status
        if self._link.state is LinkState.NEEDS_KEY and self._key_dialog is None:
            self._ask_for_key()
        elif self._link.is_connected and status is not None and status.recovery_code_pending:
            self._link.api.recovery_code(self._show_code, lambda _trouble: None)

    def _ask_for_key(self) -> None:
        is_new = not (self._paths.key_info.exists() or self._paths.database.exists())
        dialog = KeyDialog(self._link.sentence, is_new=is_new, asker=self._asker, parent=self._window)
        self._key_dialog = dialog
        dialog.finished.connect(self._key_answered)
        dialog.open()

    def _key_answered(self) -> None:
        dialog, self._key_dialog = self._key_dialog, None
        if dialog is None:
            return
        dialog.deleteLater()
        if dialog.result() == KeyDialog.DialogCode.Accepted:
            self._link.choose_key(dialog.options)

    def _show_code(self, answer: RecoveryCode) -> None:
        if self._recovery_dialog is not None:
            return
        dialog = RecoveryDialog(answer.code, self._window)
        self._recovery_dialog = dialog
        dialog.finished.connect(self._code_answered)
        dialog.open()

    def _code_answered(self) -> None:
        dialog, self._recovery_dialog = self._recovery_dialog, None
        if dialog is None:
            return
        dialog.deleteLater()
        if dialog.result() == RecoveryDialog.DialogCode.Accepted:
            self._link.api.recovery_code_shown(
                lambda _none: self._link.refresh_status(), lambda trouble: self._asker.tell(trouble.message)
            )
