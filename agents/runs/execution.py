"""A run in work: what it is, how long it has worked, and how it is to end when somebody ends it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agents.core import AgentDefinition, NewResult, Run
from agents.errors import HearthError
from agents.policies import OverlapPolicy
from agents.runs.work_time import WorkTime


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a run's work came to; `doubt` says what nobody can tell about its effects."""

    result: NewResult
    doubt: str | None = None


class Execution:
    """From the moment that a run was taken until its last row is written. The first one who ends it decides how, but for a user."""

    def __init__(self, run: Run, definition: AgentDefinition, work_time: WorkTime, *, owner: str) -> None:
        """`owner` names this runtime in the ledger."""
        self.run = run
        self.owner = owner
        self.definition = definition
        self.work_time = work_time
        self.task: asyncio.Task[Done] | None = None
        self.has_begun = False  # its row says that it is at work, so nobody takes it again
        self.ended = asyncio.Event()
        self.cancelled: str | None = None  # why it ends as cancelled
        self.overrun: HearthError | None = None  # the limit that it went over
        self.is_given_back = False

    @property
    def is_at_work(self) -> bool:
        """Whether its row says so. Before its work has begun, and from its end on, the row may be pending and must not be taken."""
        return self.has_begun and not (self.task is not None and self.task.done())

    @property
    def side_by_side(self) -> int:
        """How many runs of its agent may be in work at once."""
        overlap = self.definition.policy.overlap
        return max(1, overlap.at_most) if overlap.policy is OverlapPolicy.PARALLEL else 1

    def cancel(self, reason: str) -> None:
        self.cancelled = self.cancelled or reason
        self._end()

    def give_back(self) -> None:
        self.is_given_back = True
        self._end()

    def end_overrun(self, problem: HearthError) -> None:
        self.overrun = problem
        self._end()

    def start(self, task: asyncio.Task[Done]) -> None:
        """The work has begun; it ends at once where somebody ended it before."""
        self.task = task
        if self.cancelled or self.is_given_back:
            task.cancel()

    async def watch_time(self) -> None:
        """Ends the work when it goes over a limit."""
        while True:
            problem = self.work_time.overrun()
            if problem is not None:
                self.end_overrun(problem)
                return
            # Held time moves the limit away and a new step brings a nearer one, so it is looked at again.
            await asyncio.sleep(min(max(self.work_time.left_s, 0.01), 1.0))

    def _end(self) -> None:
        # Once: a second one would interrupt what the first lets finish, such as writing down what was spent.
        if self.task is not None and not self.task.cancelling():
            self.task.cancel()
