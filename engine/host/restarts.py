"""When a dead child may be started again, and when its model is set aside; pure, with the clock passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """How patient the supervisor is. The back-off's last value repeats."""

    backoff_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 5.0)
    max_deaths: int = 3
    window_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Restart:
    """Start again after the delay."""

    delay_s: float


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Do not start again by yourself."""

    reason: str


def backoff_s(policy: RestartPolicy, recent_deaths: int) -> float:
    """How long to wait before the start that follows the given number (1 or more) of recent deaths."""
    return policy.backoff_s[min(recent_deaths, len(policy.backoff_s)) - 1]


class DeathRecord:
    """Counts the deaths inside a sliding window and says what follows from the newest one."""

    def __init__(self, policy: RestartPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._times: list[float] = []

    def record(self, reason: str) -> Restart | SetAside:
        """Take note of a death that happened now."""
        now = self._clock()
        self._times = [time for time in self._times if now - time < self._policy.window_s]
        self._times.append(now)
        if len(self._times) >= self._policy.max_deaths:
            minutes = self._policy.window_s / 60
            return SetAside(
                reason=f"the engine ended unexpectedly {len(self._times)} times within {minutes:g} minutes "
                f"(last: {reason})"
            )
        return Restart(delay_s=backoff_s(self._policy, len(self._times)))

    def forget(self) -> None:
        """Start counting anew, because the user asked for another try."""
        self._times.clear()
