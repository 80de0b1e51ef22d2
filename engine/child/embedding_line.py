"""Texts that wait for their vectors, and which of them go into the next batch; pure.

The most urgent class with work gets the batch: its jobs in the order of their arrival, of each the longest texts that
still fit. A class that waited behind others for MAX_WAIT_S gets one text in between, so that nothing starves.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from engine.core import Priority

MAX_WAIT_S = 2.0
_ANY_LENGTH = sys.maxsize


@dataclass(kw_only=True, eq=False)
class EmbeddingJob:
    """The texts of one message, as tokens, and the vectors that are there already."""

    id: str
    priority: Priority
    texts: Sequence[Sequence[int]] = field(repr=False)
    vectors: dict[int, bytes] = field(default_factory=dict, repr=False)
    _waiting: list[int] = field(init=False, repr=False)  # places of texts, the shortest first

    def __post_init__(self) -> None:
        self._waiting = sorted(range(len(self.texts)), key=self._length)

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts together."""
        return sum(map(len, self.texts))

    @property
    def is_waiting(self) -> bool:
        """Whether a text of it is in no batch yet."""
        return bool(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether all vectors are there."""
        return len(self.vectors) == len(self.texts)

    def take(self, room: int) -> int | None:
        """The place of the longest waiting text of at most so many tokens; it waits no longer."""
        at = bisect_right(self._waiting, room, key=self._length)
        return self._waiting.pop(at - 1) if at else None

    def put_back(self, place: int) -> None:
        """A text whose batch was not computed waits again."""
        at = bisect_right(self._waiting, self._length(place), key=self._length)
        self._waiting.insert(at, place)

    def _length(self, place: int) -> int:
        return len(self.texts[place])


@dataclass(frozen=True, kw_only=True)
class EmbeddingBatch:
    """Texts of one class that are computed together, each as its job and its place there."""

    priority: Priority
    parts: tuple[tuple[EmbeddingJob, int], ...]
    is_overdue: bool = False  # its class waited too long: it is not interrupted

    @property
    def texts(self) -> list[Sequence[int]]:
        """The tokens of each."""
        return [job.texts[place] for job, place in self.parts]

    @property
    def n_tokens(self) -> int:
        """Tokens of all of them together."""
        return sum(map(len, self.texts))

    @property
    def ids(self) -> frozenset[str]:
        """The jobs in it."""
        return frozenset(job.id for job, _ in self.parts)

    def by_job(self) -> list[EmbeddingBatch]:
        """The same texts, those of each job in a batch of their own."""
        own: dict[str, list[tuple[EmbeddingJob, int]]] = {}
        for job, place in self.parts:
            own.setdefault(job.id, []).append((job, place))
        return [replace(self, parts=tuple(parts)) for parts in own.values()]


class EmbeddingLine:
    """The jobs that are not done. A batch has at most n_sequences texts and batch_tokens tokens, or one longer text."""

    def __init__(self, *, n_sequences: int, batch_tokens: int) -> None:
        self._n_sequences = n_sequences
        self._batch_tokens = batch_tokens
        self._jobs: dict[Priority, dict[str, EmbeddingJob]] = {priority: {} for priority in Priority}
        self._served_s = dict.fromkeys(Priority, 0.0)  # when the class last had a batch or began to wait
        self._background_allowed = True

    @property
    def n_jobs(self) -> int:
        """Jobs that are not done."""
        return sum(map(len, self._jobs.values()))

    def find(self, job_id: str) -> EmbeddingJob | None:
        """The job with this id, if it is not done."""
        return next((jobs[job_id] for jobs in self._jobs.values() if job_id in jobs), None)

    def add(self, job: EmbeddingJob, now_s: float) -> None:
        """A job waits from now on."""
        jobs = self._jobs[job.priority]
        if not jobs:
            self._served_s[job.priority] = now_s
        jobs[job.id] = job

    def remove(self, job: EmbeddingJob) -> None:
        """A job is done, or nobody wants it any more."""
        del self._jobs[job.priority][job.id]

    def allow_background(self, allowed: bool) -> None:
        """Whether work that nobody waits for goes on."""
        self._background_allowed = allowed

    def next_batch(self, now_s: float) -> EmbeddingBatch | None:
        """What is computed next; None when nothing may be."""
        classes = [priority for priority in Priority if self._has_work(priority)]
        if not classes:
            return None
        overdue = [priority for priority in classes[1:] if now_s - self._served_s[priority] >= MAX_WAIT_S]
        priority = overdue[0] if overdue else classes[0]
        self._served_s[priority] = now_s
        n_texts = 1 if overdue else self._n_sequences
        return EmbeddingBatch(
            priority=priority, parts=self._take(priority, n_texts), is_overdue=bool(overdue)
        )

    def put_back(self, batch: EmbeddingBatch) -> None:
        """The batch was not computed."""
        for job, place in batch.parts:
            job.put_back(place)

    def _has_work(self, priority: Priority) -> bool:
        if priority is Priority.BACKGROUND and not self._background_allowed:
            return False
        return any(job.is_waiting for job in self._jobs[priority].values())

    def _take(self, priority: Priority, n_texts: int) -> tuple[tuple[EmbeddingJob, int], ...]:
        parts: list[tuple[EmbeddingJob, int]] = []
        room = (
            _ANY_LENGTH  # whoever came first goes first, also with a text longer than a batch is meant to be
        )
        for job in self._jobs[priority].values():
            while len(parts) < n_texts and (place := job.take(room)) is not None:
                parts.append((job, place))
                room = min(room, self._batch_tokens) - len(job.texts[place])
            if len(parts) == n_texts:
                break
        return tuple(parts)
