"""Many texts to vectors on one embedding model: fill a batch, compute it, answer those that are complete.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import base64
import math
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from engine.child.channel import Inbox
from engine.child.embedding_line import EmbeddingBatch, EmbeddingJob, EmbeddingLine
from engine.child.self_test import SelfTestFailed
from engine.core import FinishReason, Request, Usage
from engine.errors import EngineError, PromptTooLong, RequestInvalid
from engine.messages import Counters, Done, Embed, Embedded, Failed, FromChild, Loaded
from engine.model import PowerLimits
from engine.pace.pacer import Pacer
from engine.status import EngineCounters

COUNTERS_EVERY_S = 0.5
_TRIAL = " ".join(f"Line {number} of the trial reads the same as all the others." for number in range(1, 9))
_SHORT = 12  # tokens: kernels take another way through so few
_NOTHING_USED = Usage(prompt_tokens=0, completion_tokens=0, prefill_s=0.0, decode_s=0.0)


@runtime_checkable
class Embedder(Protocol):
    """What the loop needs of a loaded model; llama/embedder.py has the real one, the tests a small one."""

    @property
    def n_ctx(self) -> int:
        """Tokens of the longest text that it takes."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Up to how many tokens a batch is filled; one longer text may go alone."""
        ...

    @property
    def n_sequences(self) -> int:
        """Texts that one batch can hold."""
        ...

    @property
    def n_threads(self) -> int:
        """Threads of the next batch."""
        ...

    @property
    def native_s(self) -> float:
        """Time spent inside llama.cpp so far."""
        ...

    def facts(self) -> Loaded:
        """The model in numbers."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """The text as the model reads it, with the marks around it."""
        ...

    def embed(self, texts: Sequence[Sequence[int]]) -> list[bytes] | None:
        """One vector of unit length (float32, little-endian) a text. None: aborted. Raises EngineError."""
        ...

    def set_threads(self, n_threads: int) -> None:
        """Compute with so many threads from the next batch on."""


def try_embedder(embedder: Embedder) -> bool:
    """Compute a short text alone and beside a long one; returns whether its vector is the same to the last bit.

    Raises SelfTestFailed; a crash is the caller's caller's to see.
    """
    long = embedder.tokenize(_TRIAL)[: min(embedder.n_ctx, embedder.batch_tokens // 2)]
    short = long[:_SHORT]
    alone, together = embedder.embed([short]), embedder.embed([long, short])
    if alone is None or together is None:
        raise SelfTestFailed("The trial batch did not end.")
    for vector in (*alone, *together):
        numbers = array("f", vector)
        if not numbers or not all(map(math.isfinite, numbers)):
            raise SelfTestFailed("The trial gave numbers that are not finite.")
    return alone[0] == together[1]


class EmbeddingLoop:
    """Takes texts, and serves all of them a batch at a time."""

    def __init__(
        self,
        embedder: Embedder,
        *,
        pacer: Pacer,
        inbox: Inbox,
        send: Callable[[FromChild], None],
        beat: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._embedder = embedder
        self._pacer = pacer
        self._inbox = inbox
        self._send = send
        self._beat = beat
        self._clock = clock
        self._line = EmbeddingLine(n_sequences=embedder.n_sequences, batch_tokens=embedder.batch_tokens)
        self._batch: EmbeddingBatch | None = None  # while it is computed
        self._counters = EngineCounters()
        self._counted_at = clock()
        self._idle = True

    @property
    def is_full(self) -> bool:
        """Whether more work would only wait: never, whatever is read may fill the next batch."""
        return False

    @property
    def has_work(self) -> bool:
        """Whether anybody waits for vectors, be it held back."""
        return self._line.n_jobs > 0

    @property
    def is_tidy(self) -> bool:
        """Whether there is nothing to tidy up: vectors leave nothing behind."""
        return True

    def tidy(self) -> None:
        """Nothing is left behind."""

    # -- work in and out -----------------------------------------------------------------------------------

    def submit(self, _request: Request) -> None:
        """An embedding model has no words to answer with. Raises RequestInvalid."""
        raise _writes_none()

    def count_prompt(self, _request: Request) -> int:
        """It reads no conversation either. Raises RequestInvalid."""
        raise _writes_none()

    def embed(self, message: Embed) -> None:
        """Take texts into the line. Raises EngineError when one of them can't be served."""
        if self._inbox.is_aborted(message.id):
            self._tell_cancelled(message.id)
            return
        if self._line.find(message.id) is not None:
            raise EngineError("A request with this id is in work already; give each its own.")
        if not message.texts:
            raise RequestInvalid("There are no texts to embed; send at least one.")
        job = EmbeddingJob(
            id=message.id,
            priority=message.priority,
            texts=[self._tokens(number, text) for number, text in enumerate(message.texts, 1)],
        )
        self._line.add(job, self._clock())

    def abort(self, request_id: str) -> None:
        """Stop a request, wherever it is."""
        job = self._line.find(request_id)
        if job is None:
            self._inbox.forget_abort(request_id)  # it came after the end
        else:
            self._line.remove(job)
            self._tell_cancelled(request_id)

    def forget_prefix(self, _name: str) -> None:
        """Nothing is kept of a text."""

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from the next batch on."""
        self._line.allow_background(limits.background)
        self._embedder.set_threads(self._pacer.limit(limits.max_threads))

    def count(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        """The tokens of each text, with the marks around it: to be compared with the longest text that the model takes."""
        counts: list[int] = []
        for text in texts:
            counts.append(len(self._embedder.tokenize(text)))
            self._beat()
        return tuple(counts)

    def close(self) -> None:
        """End the background lane."""
        self._pacer.close()

    # -- one step ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Compute one batch; False when there is nothing to do until the next message."""
        started, native_s = time.perf_counter(), self._embedder.native_s
        batch = self._line.next_batch(self._clock())
        if batch is None:
            if not self._idle:
                self._idle = True
                self._send_counters()
            return False
        self._idle = False
        self._serve(batch)
        native_s = self._embedder.native_s - native_s
        self._tally(python_s=time.perf_counter() - started - native_s)
        if self._clock() - self._counted_at >= COUNTERS_EVERY_S:
            self._send_counters()
        return True

    def should_stop(self) -> bool:
        """Whether the batch that is being computed is not worth its end; llama.cpp asks in between."""
        batch = self._batch
        if batch is None:
            return False
        if all(self._inbox.is_aborted(job_id) for job_id in batch.ids):
            return True
        return not batch.is_overdue and self._inbox.is_urgent(batch.priority)

    def _serve(self, batch: EmbeddingBatch) -> None:
        """Compute a batch and answer the jobs that are complete. What fails beside others is tried alone."""
        try:
            vectors = self._compute(batch)
        except EngineError as error:
            alone = batch.by_job()
            if len(alone) == 1:
                self._fail(batch.parts[0][0], error)
                return
            for part in alone:
                self._serve(part)
            return
        if vectors is None:
            self._line.put_back(batch)
            return
        self._tally(batches=1, batch_tokens=batch.n_tokens, batch_sequences=len(batch.parts))
        for (job, place), vector in zip(batch.parts, vectors, strict=True):
            job.vectors[place] = vector
            if job.is_done:
                self._answer(job)
        self._beat()

    def _compute(self, batch: EmbeddingBatch) -> list[bytes] | None:
        self._batch = batch
        try:
            return self._pacer.run(
                lambda: self._embedder.embed(batch.texts),
                self._embedder,
                n_tokens=batch.n_tokens,
                priority=batch.priority,
                is_whole=lambda vectors: vectors is not None,
            )
        finally:
            self._batch = None

    def _answer(self, job: EmbeddingJob) -> None:
        vectors = tuple(base64.b64encode(job.vectors[place]).decode() for place in range(len(job.texts)))
        self._line.remove(job)
        self._inbox.forget_abort(job.id)
        self._tally(prompt_tokens=job.n_tokens)
        self._send(Embedded(id=job.id, vectors=vectors, tokens=job.n_tokens))

    def _fail(self, job: EmbeddingJob, error: EngineError) -> None:
        self._line.remove(job)
        self._inbox.forget_abort(job.id)
        self._send(Failed(id=job.id, code=error.code, message=str(error), details=error.details))

    def _tokens(self, number: int, text: str) -> list[int]:
        tokens = self._embedder.tokenize(text)
        self._beat()
        if len(tokens) > self._embedder.n_ctx:
            raise PromptTooLong(len(tokens), self._embedder.n_ctx, text_number=number)
        if not tokens:
            raise RequestInvalid(f"Text {number:,} is empty; leave it out.")
        return tokens

    def _tell_cancelled(self, job_id: str) -> None:
        self._inbox.forget_abort(job_id)
        self._send(Done(id=job_id, finish_reason=FinishReason.CANCELLED, usage=_NOTHING_USED))

    def _tally(self, *, python_s: float = 0.0, **more: int) -> None:
        counters = self._counters
        sums = {name: getattr(counters, name) + n for name, n in more.items()}
        self._counters = replace(counters, python_s=counters.python_s + python_s, **sums)

    def _send_counters(self) -> None:
        self._counted_at = self._clock()
        counters = replace(
            self._counters,
            running=self._line.n_jobs,
            n_threads=self._embedder.n_threads,
            native_s=self._embedder.native_s,
        )
        self._send(Counters(counters=counters))


def _writes_none() -> RequestInvalid:
    return RequestInvalid("This model turns texts into vectors and writes none; choose a chat model.")
