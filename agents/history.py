"""Keeps the history of runs to the age and size that the user allows it. Runs in: the runtime's event loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from agents.clock import Clock
from agents.errors import UsageProblem
from agents.storage.meta_store import MetaStore
from agents.storage.retention import Forgotten, Retention

LIMITS_KEY = "history_limits"
MAX_DAYS = 36_500
SPARED = timedelta(
    days=2
)  # limits an hour and a day are counted from what was done: the size must not undo them
MIN_BYTES = 50_000_000  # less would forget what was done a moment ago

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HistoryLimits:
    """None is no limit. What somebody's agents wrote for him is not thrown away for its age unless he says so."""

    keep_days: int | None = None
    keep_bytes: int | None = 5_000_000_000


_LIMITS = TypeAdapter(HistoryLimits)


class History:
    """The limits, and the work that they mean."""

    def __init__(self, *, settings: MetaStore, retention: Retention, clock: Clock) -> None:
        self._settings = settings
        self._retention = retention
        self._clock = clock

    async def limits(self) -> HistoryLimits:
        text = await self._settings.get(LIMITS_KEY)
        if text is None:
            return HistoryLimits()
        try:
            return _LIMITS.validate_json(text)
        except ValidationError:  # nothing is forgotten under limits that nobody can read
            log.warning("the limits of the history can't be read")
            return HistoryLimits(keep_days=None, keep_bytes=None)

    async def set_limits(self, limits: HistoryLimits) -> None:
        """Takes effect at the next tidying. Raises UsageProblem for limits that would leave no history."""
        if limits.keep_days is not None and not 1 <= limits.keep_days <= MAX_DAYS:
            raise UsageProblem(
                f"The history is kept for a number of days from 1 to {MAX_DAYS:,}; name one, or none for no limit."
            )
        if limits.keep_bytes is not None and limits.keep_bytes < MIN_BYTES:
            raise UsageProblem(
                f"The history needs at least {MIN_BYTES // 1_000_000} MB; name a larger size, or none for no limit."
            )
        await self._settings.set(LIMITS_KEY, _LIMITS.dump_json(limits).decode())

    async def tidy(self) -> Forgotten:
        """Forgets what lies beyond the limits."""
        limits = await self.limits()
        now = self._clock.now()
        older_than = None
        if limits.keep_days is not None:
            older_than = now - timedelta(days=limits.keep_days)
        forgotten = await self._retention.prune(
            older_than=older_than, keep_bytes=limits.keep_bytes, spare_since=now - SPARED
        )
        if forgotten != Forgotten():
            log.info(
                "forgot %d runs, the steps' outputs of %d runs and %d due times without a run",
                forgotten.runs,
                forgotten.outputs,
                forgotten.dues,
            )
        return forgotten
