"""What an agent's runs may take and what happens to those that come late, meet or fail: frozen values without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class MisfirePolicy(StrEnum):
    """What becomes of due times that nobody was there for."""

    SKIP = "skip"  # they are shown as missed
    RUN_ONCE = "run_once"  # the newest one runs, the others are shown as missed
    RUN_ALL = "run_all"  # the newest `at_most` run, the oldest first


@dataclass(frozen=True, kw_only=True)
class Misfire:
    """A due time is late when it could not be claimed within a minute."""

    policy: MisfirePolicy = MisfirePolicy.RUN_ONCE
    at_most: int = 5
    within_s: float | None = None  # older ones are missed, whatever the policy


class OverlapPolicy(StrEnum):
    """What becomes of a due time whose agent is still at work."""

    AUTO = "auto"  # what comes again anyway is shown as skipped, what happened waits
    SKIP = "skip"  # it is shown as skipped
    QUEUE = "queue"  # it waits
    REPLACE = "replace"  # the run in work is cancelled
    PARALLEL = "parallel"  # up to `at_most` run side by side, others wait


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Files are each their own work: they always queue."""

    policy: OverlapPolicy = OverlapPolicy.AUTO
    at_most: int = 1  # runs side by side; more than one only with PARALLEL


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A run that failed for a passing reason is tried again after first_s, twice that, and so on, each a little by chance."""

    attempts: int = 3  # all together; 1 means never again
    first_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class TimeLimits:
    """How long work may take while it is in work; waiting for the machine counts for neither."""

    run_s: float = 3_600.0
    step_s: float = 900.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be used up; None is no limit. Reserved before the work, settled after it. A day is the user's calendar day."""

    tokens_per_run: int | None = None
    seconds_per_run: float | None = None  # of the model
    tool_calls_per_run: int | None = None
    runs_per_hour: int | None = None
    runs_per_day: int | None = None
    tokens_per_day: int | None = None
    seconds_per_day: float | None = None
    wh_per_day: float | None = None
    money_per_day: float | None = None  # USD


class PowerClass(StrEnum):
    """When an agent's runs may use the machine."""

    ANY = "any"  # on battery too, with less
    AC_ONLY = "ac_only"
    IDLE_ONLY = "idle_only"  # while nobody is at the computer


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
    """How an agent's runs are to be treated."""

    misfire: Misfire = field(default_factory=Misfire)
    overlap: Overlap = field(default_factory=Overlap)
    retry: Retry = field(default_factory=Retry)
    limits: TimeLimits = field(default_factory=TimeLimits)
    budget: Budget = field(default_factory=Budget)
    power: PowerClass = PowerClass.ANY
