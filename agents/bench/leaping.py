"""A clock that runs at real speed and leaps over the time in which nothing is due: a day of due times in minutes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class LeapingClock:
    """Between two leaps a second is a second, so what is measured on it was really waited for."""

    def __init__(self, start: datetime) -> None:
        self._ahead = start - datetime.now(UTC)
        self._leapt_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._leapt_s

    def leap_to(self, moment: datetime) -> None:
        """Never goes back."""
        ahead = moment - self.now()
        if ahead > timedelta():
            self._ahead += ahead
            self._leapt_s += ahead.total_seconds()
