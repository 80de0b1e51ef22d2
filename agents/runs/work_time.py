"""How long a run and its step have been at work: a stopwatch that stands still while they wait for the machine. Pure."""

from __future__ import annotations

from collections.abc import Callable

from agents.durations import duration_in_words
from agents.policies import TimeLimits
from agents.runs.problems import OutOfTime, StepOutOfTime


class Stopwatch:
    """Counts seconds while nothing holds it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._counted_s = 0.0
        self._since: float | None = monotonic()

    @property
    def passed_s(self) -> float:
        running_s = 0.0 if self._since is None else self._monotonic() - self._since
        return self._counted_s + running_s

    def hold(self) -> None:
        """Time that passes from now on does not count."""
        self._counted_s = self.passed_s
        self._since = None

    def go_on(self) -> None:
        """Time counts again."""
        if self._since is None:
            self._since = self._monotonic()


class WorkTime:
    """One attempt at a run. It is held for as long as anything holds it; each holder has a name."""

    def __init__(self, limits: TimeLimits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._run = Stopwatch(monotonic)
        self._step: Stopwatch | None = None
        self._step_title = ""
        self._holders: set[str] = set()

    def begin_step(self, title: str) -> None:
        self._step, self._step_title = Stopwatch(self._monotonic), title
        if self._holders:
            self._step.hold()

    def end_step(self) -> None:
        self._step = None

    def hold(self, holder: str) -> None:
        self._holders.add(holder)
        for watch in self._watches():
            watch.hold()

    def release(self, holder: str) -> None:
        self._holders.discard(holder)
        if not self._holders:
            for watch in self._watches():
                watch.go_on()

    @property
    def worked_s(self) -> float:
        """How long the run has been at work in this attempt."""
        return self._run.passed_s

    @property
    def left_s(self) -> float:
        """Until a limit is reached, if nothing holds the work; less than 0 afterwards."""
        left_s = self._limits.run_s - self._run.passed_s
        return left_s if self._step is None else min(left_s, self._limits.step_s - self._step.passed_s)

    def overrun(self) -> OutOfTime | StepOutOfTime | None:
        """The limit that was reached, if one was."""
        if self._run.passed_s >= self._limits.run_s:
            return OutOfTime(
                f"The run was at work for longer than its limit of {duration_in_words(self._limits.run_s)}; "
                "raise 'run' under 'limits' in the agent's file."
            )
        if self._step is not None and self._step.passed_s >= self._limits.step_s:
            return StepOutOfTime(
                f"The step “{self._step_title}” was at work for longer than its limit of "
                f"{duration_in_words(self._limits.step_s)}; raise 'step' under 'limits' in the agent's file."
            )
        return None

    def _watches(self) -> list[Stopwatch]:
        return [self._run] if self._step is None else [self._run, self._step]
