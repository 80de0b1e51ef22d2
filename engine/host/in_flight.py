"""All work that was asked for and has not ended: what goes to the child now, and who is to blame when it dies; pure.

A death takes every request in flight with it, and says nothing about which one caused it. Those that the child had are
its suspects. They are repeated one after the other: the next one is submitted when the one on trial came farther
than where it stood at the death, or ended. New work is not held back meanwhile. A death during a trial convicts the one
on trial, so a request that kills the child each time costs two deaths and takes nobody else down; the others are
repeated again. A suspect that was the child's only work is convicted too, however far it came, and so is whoever
witnessed three deaths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import EngineBusy
from engine.host.job import Job

MAX_IN_FLIGHT = 1024
MAX_DEATHS_WITNESSED = 3
_REMEMBERED_ENDS = 4 * MAX_IN_FLIGHT


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows from a death: who fails with it, and who is repeated."""

    convicted: tuple[Job, ...]
    repeated: tuple[Job, ...]


class InFlight:
    """The jobs by id, in the order of their arrival."""

    def __init__(self, limit: int = MAX_IN_FLIGHT) -> None:
        self._limit = limit
        self._jobs: dict[str, Job] = {}
        self._leaving: dict[str, Job] = {}  # their callers went away; the child has yet to confirm
        self._gone: deque[str] = deque(maxlen=_REMEMBERED_ENDS)  # left, and confirmed at least once

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs.values()))

    @property
    def n_heavy(self) -> int:
        """How much work takes the model's time, also what was left and not yet confirmed."""
        return sum(job.is_heavy for job in (*self._jobs.values(), *self._leaving.values()))

    @property
    def awaits_child(self) -> bool:
        """Whether the child owes an answer."""
        return bool(self._leaving) or any(job.submitted for job in self._jobs.values())

    def add(self, job: Job) -> None:
        """Take up new work. Raises EngineBusy."""
        if len(self._jobs) + len(self._leaving) >= self._limit:
            raise EngineBusy(f"The engine has {self._limit:,} requests already; try again in a moment.")
        self._jobs[job.id] = job

    def find(self, job_id: str) -> Job | None:
        """The job that a message is about, if somebody still waits for it."""
        return self._jobs.get(job_id)

    def ready(self) -> list[Job]:
        """What goes to the child now: all new work, and a suspect if none is on trial."""
        waiting = [job for job in self._jobs.values() if not job.submitted]
        if not waiting:
            return []
        ready = [job for job in waiting if not job.deaths]
        if not any(job.on_trial for job in self._jobs.values()):
            suspects = [job for job in waiting if job.deaths]
            ready.extend(sorted(suspects, key=lambda job: (job.priority, job.number))[:1])
        return ready

    def end(self, job: Job) -> None:
        """The child has answered."""
        self._jobs.pop(job.id, None)

    def leave(self, job: Job) -> bool:
        """The caller is gone; True when the child works on it and must be told."""
        if self._jobs.pop(job.id, None) is None or not job.submitted:
            return False
        self._leaving[job.id] = job
        return True

    def confirm_gone(self, job_id: str, *, is_last: bool) -> bool:
        """A message about work that nobody waits for; False when there was never such work.

        An abort may cross the end on its way: then the end is heard twice.
        """
        if job_id in self._leaving:
            if is_last:
                del self._leaving[job_id]
                self._gone.append(job_id)
            return True
        if is_last and job_id in self._gone:
            self._gone.remove(job_id)
            return True
        return False

    def clear(self) -> list[Job]:
        """Nothing is in flight any more; returns the jobs whose callers must hear of it."""
        jobs = list(self._jobs.values())
        self._jobs.clear()
        self._leaving.clear()
        self._gone.clear()
        return jobs

    def after_death(self) -> Verdict:
        """Judge those that the child had; the convicted leave, the others wait to be submitted again."""
        witnesses = [job for job in self._jobs.values() if job.submitted]
        was_alone = len(witnesses) + len(self._leaving) == 1
        self._leaving.clear()
        self._gone.clear()
        convicted: list[Job] = []
        for job in witnesses:
            guilty = job.on_trial or (was_alone and job.deaths > 0)
            job.forget_answer()
            if guilty or job.deaths >= MAX_DEATHS_WITNESSED:
                convicted.append(job)
                del self._jobs[job.id]
        repeated = tuple(job for job in witnesses if job.id in self._jobs)
        return Verdict(convicted=tuple(convicted), repeated=repeated)
