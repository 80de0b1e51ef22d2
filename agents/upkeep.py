"""What the runtime does for itself now and then: backups, a history within its limits, models that nobody uses.

Runs in: the runtime's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Mapping

from agents import contract
from agents.errors import Damaged, StoreProblem
from agents.history import History
from agents.models.local import EnginePool
from agents.notice_board import NoticeBoard
from agents.scheduling.alarm import Alarm
from agents.storage.backups import Backups
from agents.timetable import Timetable
from engine.errors import EngineError

BACKUP_LOOK_S = 900.0  # how often the age of the newest backup is looked at
HISTORY_LOOK_S = 3_600.0
IDLE_LOOK_S = 30.0

log = logging.getLogger(__name__)


class Upkeep:
    """`start` it when everything it tends to works."""

    def __init__(
        self,
        *,
        engines: EnginePool,
        backups: Backups,
        history: History,
        timetable: Timetable,
        notices: NoticeBoard,
    ) -> None:
        self._engines = engines
        self._backups = backups
        self._history = history
        self._timetable = timetable
        self._notices = notices
        self._tasks: set[asyncio.Task[None]] = set()
        self.models_due: Mapping[str, float] = {}  # in how many seconds an armed due time needs each model

    def start(self, alarm: Alarm) -> None:
        """Begins with the default model and a look at the backups."""
        self._spawn(self._warm_up())
        self.look_at_backups()
        alarm.every(BACKUP_LOOK_S, self.look_at_backups)
        alarm.every(HISTORY_LOOK_S, lambda: self._spawn(self._tidy_history()))
        alarm.every(IDLE_LOOK_S, lambda: self._spawn(self._unload_idle()))

    def stop(self) -> None:
        """Takes back what is under way; nothing that is acknowledged depends on it."""
        for task in self._tasks:
            task.cancel()

    async def back_up_last(self) -> None:
        """At a stop: a backup of what is new."""
        with contextlib.suppress(StoreProblem):  # logged where it happened; nobody is there to be told
            await self._backups.make_if_due(stopping=True)

    def look_at_backups(self) -> None:
        """Makes one if it is time."""
        self._spawn(self._back_up())

    async def _warm_up(self) -> None:
        """Loads the default model right away, so that the self-test is over before the first question."""
        try:
            await self._engines.default.start()
        except EngineError as error:
            self._notices.tell(str(error), contract.NoticeLevel.ERROR)

    async def _unload_idle(self) -> None:
        """A model that a due time needs soon stays."""
        with contextlib.suppress(StoreProblem):  # what was known before is nearly as good
            self.models_due = await self._timetable.models_due()
        await self._engines.unload_idle()

    async def _tidy_history(self) -> None:
        try:
            await self._history.tidy()
        except StoreProblem as error:  # such as a disk that is full: the next look tries again
            log.warning("the history was not tidied: %s", error.code)

    async def _back_up(self) -> None:
        try:
            await self._backups.make_if_due()
        except StoreProblem as error:
            damaged = isinstance(error, Damaged)
            level = contract.NoticeLevel.ERROR if damaged else contract.NoticeLevel.WARNING
            self._notices.tell(str(error), level)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
