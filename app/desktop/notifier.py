"""Shows notifications with an Open button through the system's service; without one it does nothing.

Runs in: a thread of its own with an asyncio loop, as the library needs one; buttons are signalled to the main thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from desktop_notifier import Button, DesktopNotifier, Icon, Urgency
from PySide6.QtCore import QObject, Signal

from app.desktop.notes import Note

SEND_WITHIN_S = 5.0
_JOIN_WITHIN_S = 5.0

log = logging.getLogger(__name__)


class Notifier(QObject):
    """The interface, and the notifier of a desktop that has none."""

    opened = Signal(object)  # int | None: the run of the note whose button or body was clicked

    def show(self, note: Note) -> None:
        """Shows a note soon, or never; it does not wait and does not raise."""

    def close(self) -> None:
        """Ends what runs in the background."""


class SystemNotifier(Notifier):
    """desktop-notifier on a loop of its own. The thread begins with the first note."""

    def __init__(self, app_name: str, icon: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app_name = app_name
        self._icon = icon
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._service: DesktopNotifier | None = None
        self._closed = False
        # It logs whole notifications and tracebacks of desktops that have no such service: neither is for anybody.
        logging.getLogger("desktop_notifier").disabled = True

    def show(self, note: Note) -> None:
        if not self._closed:
            self._submit(self._send(note))

    def close(self) -> None:
        self._closed = True
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_JOIN_WITHIN_S)
            self._thread = None

    def _submit(self, work: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._serve, args=(self._loop,), name="notifier", daemon=True
            )
            self._thread.start()
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._disconnect()
        finally:
            loop.close()

    async def _send(self, note: Note) -> None:
        try:
            if self._service is None:
                icon = Icon(path=self._icon) if self._icon else None
                self._service = DesktopNotifier(app_name=self._app_name, app_icon=icon)
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._service.send(
                    title=note.title,
                    message=note.body,
                    urgency=Urgency.Normal,
                    buttons=[Button(title="Open", on_pressed=lambda: self.opened.emit(note.run_id))],
                    on_clicked=lambda: self.opened.emit(note.run_id),
                )
        except Exception as error:  # noqa: BLE001  whatever a foreign service does, a note is never worth a crash
            log.info("a notification was not shown: %s", type(error).__name__)
        if self._backend_value("interface") is None:
            self._disconnect()  # there is a bus but no service on it: the next note tries anew

    def _disconnect(self) -> None:
        bus = self._backend_value("bus")
        if bus is not None:
            bus.disconnect()

    def _backend_value(self, name: str) -> Any:
        """The library has no way to close its bus connection, so its backend is asked for it by name."""
        return getattr(getattr(self._service, "_backend", None), name, None)
