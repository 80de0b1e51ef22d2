"""One desktop per home: the first holds a lock and listens, later ones ask it to show its window.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout
from PySide6.QtCore import QObject, Signal
from PySide6.QtNetwork import QLocalServer, QLocalSocket

SHOW = b"show\n"
SHOWN = b"shown\n"
_ANSWER_WITHIN_MS = 3_000
_MESSAGE_LIMIT_BYTES = 64


class NotAnsweringError(RuntimeError):
    """Another desktop holds the lock but does not answer; str() is one sentence for the user."""


class SingleInstance(QObject):
    """`acquire` is True for the first desktop of a home; `show_asked` follows each later start."""

    show_asked = Signal()

    def __init__(self, home: Path, folder: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        folder = folder or _own_folder()
        name = "hearth-" + hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:16]
        self._address = str(folder / f"{name}.sock")
        # The kernel frees this lock whatever way the process ends; a file that lies about is not a lock.
        self._lock = FileLock(folder / f"{name}.lock")
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._greet)

    def acquire(self) -> bool:
        """Becomes the one, or makes the other one show itself. Raises NotAnsweringError."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            if self._ask_other():
                return False
            raise NotAnsweringError(
                "Hearth's window is already open, but does not answer; end it, then start Hearth again."
            ) from None
        QLocalServer.removeServer(self._address)  # left behind by a desktop that was killed
        self._server.listen(self._address)
        return True

    def release(self) -> None:
        self._server.close()
        self._lock.release()

    def _ask_other(self) -> bool:
        client = QLocalSocket()
        client.connectToServer(self._address)
        if not client.waitForConnected(_ANSWER_WITHIN_MS):
            return False
        client.write(SHOW)
        client.flush()
        return client.waitForReadyRead(_ANSWER_WITHIN_MS) and bytes(client.readAll().data()) == SHOWN

    def _greet(self) -> None:
        while (client := self._server.nextPendingConnection()) is not None:
            client.readyRead.connect(lambda client=client: self._answer(client))
            client.disconnected.connect(client.deleteLater)
            self._answer(client)

    def _answer(self, client: QLocalSocket) -> None:
        if not client.canReadLine():
            if client.bytesAvailable() > _MESSAGE_LIMIT_BYTES:
                client.abort()
            return
        is_show = bytes(client.readLine().data()) == SHOW
        if is_show:
            client.write(SHOWN)
            client.flush()
        client.disconnectFromServer()
        if is_show:
            self.show_asked.emit()


def _own_folder() -> Path:
    """A folder that only this user can write: the session's, else one of our own in the temporary folder."""
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir() and os.access(session, os.W_OK):
        return Path(session)
    if not hasattr(os, "getuid"):
        return Path(tempfile.gettempdir())
    folder = Path(tempfile.gettempdir()) / f"hearth-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
        raise NotAnsweringError(f"{folder} belongs to somebody else; remove it, then start Hearth again.")
    return folder
