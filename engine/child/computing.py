"""Computes the batches of the loop: at their pace, stopped when they are not worth their end, and mended when they fail.

Runs in: engine child, engine thread; `should_stop` is asked by llama.cpp in between, from the thread that computes.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.child.channel import Inbox
from engine.child.runner import Context
from engine.errors import EngineError
from engine.pace.pacer import Pacer
from engine.schedule.batch import Batch, Outcome
from engine.schedule.kv_cache import KvCache
from engine.schedule.scheduler import Scheduler


class BatchComputer:
    """fail(request_id, error) ends a request that can't be computed; the others go on."""

    def __init__(
        self,
        *,
        context: Context,
        pacer: Pacer,
        scheduler: Scheduler,
        kv: KvCache,
        inbox: Inbox,
        fail: Callable[[str, EngineError], None],
    ) -> None:
        self._context = context
        self._pacer = pacer
        self._scheduler = scheduler
        self._kv = kv
        self._inbox = inbox
        self._fail = fail
        self._batch: Batch | None = None  # while it is computed
        self._ids: frozenset[str] = frozenset()

    def compute(self, batch: Batch, *, repeatable: bool) -> bool:
        """Whether the batch was computed; if not, the books are as before it.

        What fails beside others is tried alone, and what fails alone, fails. repeatable: the same tokens are to be
        rounded alike each time, as far as that is in our hands.
        """
        self._ids = frozenset(run.sequence.request_id for run in batch.runs)
        self._batch = batch
        try:
            outcome = self._pacer.run(
                lambda: self._context.decode(batch),
                self._context,
                n_tokens=batch.n_tokens,
                priority=batch.priority,
                is_whole=lambda result: result is Outcome.DONE,
                repeatable=repeatable,
            )
        except EngineError as error:
            self._scheduler.revert(batch)
            self._mend(batch, error)
            return False
        finally:
            self._batch = None
        if outcome is Outcome.DONE:
            return True
        self._scheduler.revert(batch, was_begun=outcome is not Outcome.NO_ROOM)
        if outcome is Outcome.NO_ROOM:
            self._make_room(batch)
        return False

    def should_stop(self) -> bool:
        """Whether a request of the batch was cancelled, or one of a higher class came."""
        batch = self._batch
        if batch is None:
            return False
        if not self._kv.can_rewind:  # an interrupted batch spoils the state of all its sequences
            return all(self._inbox.is_aborted(request_id) for request_id in self._ids)
        return self._inbox.has_aborted(self._ids) or self._inbox.is_urgent(batch.priority)

    def _mend(self, batch: Batch, error: EngineError) -> None:
        if len(batch.runs) > 1 and self._kv.can_rewind:
            self._scheduler.isolate(batch)
            return
        for run in batch.runs:
            self._fail(run.sequence.request_id, error)

    def _make_room(self, batch: Batch) -> None:
        """The cache was fuller than the books say, as it may be with a sliding window."""
        if self._kv.evict_all_kept():
            return
        last = batch.runs[-1].sequence
        if len(batch.runs) > 1:
            self._scheduler.give_way(last)
        else:
            error = EngineError("The context has no room for this request; choose a larger n_ctx.")
            self._fail(last.request_id, error)
