"""Hands work to the child and what the child says to those who asked: many answers at once, none waits for another.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

from engine.core import Restarted, Usage
from engine.errors import EngineDied, EngineError
from engine.host.child_process import EngineChild
from engine.host.in_flight import InFlight
from engine.host.job import About, Job, OutOfTurn, Work
from engine.messages import (
    Abort,
    CalledTool,
    Counted,
    Counters,
    Done,
    Embedded,
    Failed,
    Forgotten,
    FromChild,
    Progress,
    Texts,
)
from engine.status import EngineCounters

log = logging.getLogger(__name__)

_ENDS = (Done, Failed, Counted, Embedded, Forgotten)


class _Stranger(Exception):
    """A message about work that this child never had, or that it already answered."""


class Dispatcher:
    """The work in flight and the child that has it.

    on_change hears when the number of requests in work or waiting changes, on_usage what a finished request cost.
    """

    def __init__(
        self, *, patience_s: float, on_change: Callable[[], None], on_usage: Callable[[Usage], None]
    ) -> None:
        self._patience_s = patience_s
        self._on_change = on_change
        self._on_usage = on_usage
        self._in_flight = InFlight()
        self._numbers = itertools.count(1)
        self._child: EngineChild | None = None
        self._counted = EngineCounters()  # by the child at hand
        self._counted_before = EngineCounters()  # by those that are gone

    @property
    def counters(self) -> EngineCounters:
        """What all children counted; gauges are those of the child at hand, and 0 without one."""
        return self._counted.after(self._counted_before)

    @property
    def has_work(self) -> bool:
        """Whether anybody waits for anything."""
        return len(self._in_flight) > 0

    @property
    def is_busy(self) -> bool:
        """Whether there is work that takes the model's time."""
        return self._in_flight.n_heavy > 0

    @property
    def n_running(self) -> int:
        """Requests that the child computes on."""
        return sum(job.has_begun for job in self._in_flight if job.is_heavy)

    @property
    def n_waiting(self) -> int:
        """Requests that have not begun."""
        return sum(not job.has_begun for job in self._in_flight if job.is_heavy)

    def take_up(self, work: Work) -> Job:
        """Begin with work, at once if there is a child. Raises EngineBusy."""
        job = Job(work, number=next(self._numbers))
        self._in_flight.add(job)
        self._go_on()
        return job

    def leave(self, job: Job) -> None:
        """The caller is gone: nothing more is done for it. Harmless when the job has ended."""
        if self._in_flight.leave(job) and job.is_heavy and self._child is not None:
            self._child.post(Abort(id=job.id))
        self._go_on()

    def forget_prefix(self, name: str) -> None:
        """What is in flight pins this name no more, should it go to a child again."""
        for job in self._in_flight:
            job.forget_prefix(name)

    def fail_all(self, error: EngineError) -> None:
        """There will be no answer: everybody hears why."""
        for job in self._in_flight.clear():
            job.fail(error)
        self._on_change()

    def connect(self, child: EngineChild) -> None:
        """A child is ready: everything goes to it. Raises ChildDied when it is too late."""
        self._child = child
        try:
            child.listen(self._hear)
        except BaseException:
            self._child = None  # else work that comes now would be given to the dead, and wait for ever
            raise
        self._go_on()

    def lose_child(self, reason: str) -> None:
        """The child died: who is convicted fails, the others hear that they are repeated."""
        self.disconnect()
        verdict = self._in_flight.after_death()
        for job in verdict.convicted:
            job.fail(
                EngineDied(
                    f"The engine ended twice while it worked on this request ({reason}); "
                    "shorten the text or choose another model."
                )
            )
        for job in verdict.repeated:
            job.events.put_nowait(Restarted(reason=reason))

    def disconnect(self) -> None:
        """The child is gone, or is being stopped in order; what it counted stays."""
        self._child = None
        self._counted_before = EngineCounters().after(self.counters)
        self._counted = EngineCounters()

    def _hand_over(self) -> None:
        if self._child is None:
            return
        for job in self._in_flight.ready():
            job.submitted = True
            self._child.post(job.work)
        self._child.expect(self._patience_s if self._in_flight.awaits_child else None)

    def _hear(self, message: FromChild) -> None:
        """One message of the child. Nothing here waits, and a bug ends the child instead of its reader."""
        child = self._child
        assert child is not None
        try:
            self._take(message)
        except _Stranger:
            child.kill("spoke of a request that is not its own")
        except OutOfTurn:
            child.kill("spoke out of turn")
        except Exception:
            log.exception("a message of the engine could not be taken")
            child.kill("said something that can't be taken")

    def _take(self, message: FromChild) -> None:
        match message:
            case Counters():
                self._counted = message.counters
            case Texts():
                for text in message.items:
                    self._take_about(text)
            case Progress() | CalledTool() | Done() | Failed() | Counted() | Embedded() | Forgotten():
                self._take_about(message)
            case _:
                raise OutOfTurn

    def _take_about(self, message: About) -> None:
        job = self._in_flight.find(message.id)
        if job is None:
            if not self._in_flight.confirm_gone(message.id, is_last=isinstance(message, _ENDS)):
                raise _Stranger
            self._go_on()
            return
        if not job.submitted:
            raise _Stranger
        before = (job.has_begun, job.on_trial)
        is_last = job.take(message)
        if is_last:
            self._in_flight.end(job)
        if isinstance(message, Done):
            self._on_usage(message.usage)
        if is_last or before != (job.has_begun, job.on_trial):
            self._go_on()

    def _go_on(self) -> None:
        self._hand_over()
        self._on_change()
