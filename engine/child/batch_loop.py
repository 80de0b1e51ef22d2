"""Many answers at once on one model: schedule a batch, compute it, choose the next tokens, tell what is new.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from engine.child.channel import Inbox
from engine.child.computing import BatchComputer
from engine.child.faults import Faults
from engine.child.runner import Runner
from engine.child.tally import Tally
from engine.child.telling import Telling
from engine.child.trouble import describe_bug
from engine.child.work import Work
from engine.core import FinishReason, Request, Usage
from engine.errors import EngineError, PromptTooLong, RequestInvalid
from engine.messages import CalledTool, Counters, Done, Embed, Failed, FromChild, Progress, Text
from engine.model import PowerLimits
from engine.pace.pacer import Pacer
from engine.pace.speculation import Speculation
from engine.schedule.batch import Batch, Run
from engine.schedule.kv_cache import MAX_KEPT_CELLS, KvCache
from engine.schedule.pinning import PinnedPrefixes
from engine.schedule.scheduler import Scheduler
from engine.schedule.sequence import Sequence
from engine.states.snapshots import SnapshotStore
from engine.text.generation import Generation, Step

COUNTERS_EVERY_S = 0.5
_NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, prefill_s=0.0, decode_s=0.0)


class BatchLoop:
    """Takes requests, and serves all of them a step at a time."""

    def __init__(
        self,
        runner: Runner,
        *,
        pacer: Pacer,
        snapshots: SnapshotStore,
        n_slots: int,
        inbox: Inbox,
        send: Callable[[FromChild], None],
        beat: Callable[[], None],
        faults: Faults,
        speculation: Speculation | None = None,
        max_kept_cells: int = MAX_KEPT_CELLS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._pacer = pacer
        self._n_slots = n_slots
        self._speculation = speculation
        self._snapshots = snapshots
        self._inbox = inbox
        self._send = send
        self._beat = beat
        self._faults = faults
        self._clock = clock
        self._kv = KvCache(
            memory=runner.context,
            snapshots=snapshots,
            n_cells=runner.n_ctx,
            n_ids=runner.n_seq_ids,
            can_rewind=runner.can_rewind,
            max_kept_cells=max_kept_cells,
        )
        self._scheduler = Scheduler(
            kv=self._kv,
            n_slots=n_slots,
            n_batch=runner.n_batch,
            chunk_tokens=pacer.chunk_tokens,
            draft=self._draft,
        )
        self._pins = PinnedPrefixes(runner.prompt_tokens)
        self._works: dict[str, Work] = {}
        self._arrivals = itertools.count()
        self._computer = BatchComputer(
            context=runner.context,
            pacer=pacer,
            scheduler=self._scheduler,
            kv=self._kv,
            inbox=inbox,
            fail=self.fail,
        )
        self._tally = Tally()
        self._telling = Telling(send, clock)
        self._counted_at = clock()
        self._idle = True

    @property
    def is_full(self) -> bool:
        """Whether a request that came now would wait for a slot."""
        return len(self._works) >= self._n_slots

    @property
    def has_work(self) -> bool:
        """Whether anybody waits for an answer, be it held back."""
        return bool(self._works)

    # -- requests in and out -------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Take a request into the line. Raises EngineError when it can't be served."""
        if self._inbox.is_aborted(request.id):
            self._inbox.forget_abort(request.id)
            self._send(Done(id=request.id, finish_reason=FinishReason.CANCELLED, usage=_NO_USAGE))
            return
        if request.id in self._works:
            raise EngineError("A request with this id is in work already; give each its own.")
        tokens = self._runner.prompt_tokens(request)
        if len(tokens) >= self._runner.n_ctx:
            raise PromptTooLong(len(tokens), self._runner.n_ctx)
        pin = self._pins.point(request, tokens)
        chooser = self._runner.new_chooser(request, tokens)
        sequence = Sequence(
            request_id=request.id,
            tokens=tokens,
            n_prompt=len(tokens),
            priority=request.priority,
            arrival=next(self._arrivals),
            pin=pin,
        )
        generation = Generation(
            sequence=sequence,
            sampling=request.sampling,
            n_ctx=self._runner.n_ctx,
            chooser=chooser,
            piece=self._runner.piece,
            call_reader=self._runner.call_reader(request),
            clock=self._clock,
        )
        self._tally.generated_tokens += generation.open()
        self._works[request.id] = Work(request=request, sequence=sequence, generation=generation)
        self._scheduler.add(sequence, self._clock())
        self._tally.prompt_tokens += len(tokens)

    def embed(self, _message: Embed) -> None:
        """A model that writes has no vectors to give. Raises RequestInvalid."""
        raise RequestInvalid("This model writes text and makes no vectors; choose an embedding model.")

    def abort(self, request_id: str) -> None:
        """Stop a request, wherever it is."""
        work = self._works.get(request_id)
        if work is None:
            self._inbox.forget_abort(request_id)  # it came after the end
        else:
            self._finish(work, FinishReason.CANCELLED)

    def fail(self, request_id: str, error: EngineError) -> None:
        """End a request with an error; the others go on."""
        work = self._works.get(request_id)
        if work is not None:
            self._drop(work)
        self._inbox.forget_abort(request_id)
        self._send(Failed(id=request_id, code=error.code, message=str(error), details=error.details))

    def forget_prefix(self, name: str) -> None:
        """Drop a pinned prefix wherever it lies; a request that is at it pins nothing more. Raises EngineError."""
        for work in self._works.values():
            prefix = work.request.prefix
            if prefix is not None and prefix.name == name:
                work.sequence.pin = None
                work.sequence.keeps = False
        tokens = self._pins.forget(name)
        if tokens:
            self._kv.forget_alike(tokens)
        try:
            self._snapshots.forget(name)
        except OSError:
            raise EngineError(
                "A stored prompt could not be removed; check the folder of the cache."
            ) from None

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from the next batch on."""
        self._scheduler.allow_background(limits.background)
        self._runner.context.set_threads(self._pacer.limit(limits.max_threads))

    def count(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        """The tokens of each text."""
        counts: list[int] = []
        for text in texts:
            counts.append(self._runner.count_tokens(text))
            self._beat()
        return tuple(counts)

    def count_prompt(self, request: Request) -> int:
        """The tokens of the prompt that this request would have, also when it is too long to be served."""
        return len(self._runner.prompt_tokens(request))

    @property
    def is_tidy(self) -> bool:
        """Whether there is nothing to tidy up when nobody asks for anything."""
        return self._kv.is_tidy

    def tidy(self) -> None:
        """Nobody has asked for anything for a while: what is kept moves out of the way of the next request."""
        if not self._works and self._kv.tidy():
            self._send_counters()

    def close(self) -> None:
        """Let the store write what it owes, and end the background lane."""
        self._pacer.close()
        self._snapshots.close()

    # -- one step ------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Compute one batch; False when there is nothing to do until the next message."""
        started = time.perf_counter()
        native_s = self._runner.context.native_s
        batch = self._scheduler.schedule(self._clock())
        has_relieved = self._kv.relieve()
        if batch is None:
            self._telling.tell()
            if not has_relieved:
                self._rest()
            return has_relieved
        self._idle = False
        self._announce(batch)
        only_writes = all(run.start >= run.sequence.n_prompt for run in batch.runs)
        repeatable = any(self._is_repeatable(run.sequence) for run in batch.runs)
        is_done = self._computer.compute(batch, repeatable=repeatable)
        if is_done:
            self._tally.note_batch(batch)
            self._scheduler.update(batch, self._clock())
            self._tell(batch)
        spent_s = time.perf_counter() - started
        if self._speculation is not None:
            self._speculation.note_batch(
                n_sequences=len(batch.runs),
                n_rows=batch.n_tokens,
                n_threads=self._runner.context.n_threads,
                step_s=spent_s,
                tells=is_done and only_writes,
            )
        self._tally.python_s += spent_s - (self._runner.context.native_s - native_s)
        if self._clock() - self._counted_at >= COUNTERS_EVERY_S:
            self._send_counters()
        return True

    def should_stop(self) -> bool:
        """Whether the batch that is being computed is not worth its end; llama.cpp asks in between."""
        return self._computer.should_stop()

    def check_integrity(self) -> None:
        """Raise if the books contradict each other; that would be a bug."""
        self._scheduler.check_integrity()
        if self._scheduler.n_running + self._scheduler.n_waiting != len(self._works):
            raise RuntimeError("requests and sequences do not match")

    def _announce(self, batch: Batch) -> None:
        for run in batch.runs:
            work = self._works[run.sequence.request_id]
            work.n_batches += 1
            if work.n_batches == 1:
                work.generation.begin()
                self._tell_progress(run.sequence)
            if run.sequence.n_generated == 0:
                self._faults.reach("prefill", str(work.n_batches))

    def _tell(self, batch: Batch) -> None:
        """Choose the next tokens of all who want one, and say what is new."""
        steps: list[tuple[Work, Step]] = []
        at = 0
        for run in batch.runs:
            at += len(run.tokens)
            work = self._works[run.sequence.request_id]
            n_outputs = run.n_outputs
            if not n_outputs:
                self._tell_progress(run.sequence)
                continue
            if run.start < run.sequence.n_prompt:
                self._tell_progress(run.sequence)
            step = self._advance(work, run, range(at - n_outputs, at))
            if step is None:
                continue
            if step.text or step.tokens:
                text = Text(id=work.request.id, text=step.text, tokens=step.tokens, logprobs=step.logprobs)
                self._telling.add(text, at_once=not work.is_told)
                work.is_told = True
            steps.append((work, step))
        self._telling.tell_if_due()
        for work, step in steps:
            for call in step.calls:
                self._telling.tell()
                self._send(CalledTool(id=work.request.id, call=call))
            if step.finish_reason is not None:
                self._finish(work, step.finish_reason, step.stop)
        self._beat()

    def _advance(self, work: Work, run: Run, rows: range) -> Step | None:
        sequence = run.sequence
        n_before = sequence.n_generated
        try:
            step = work.generation.advance(rows, run.tokens[len(run.tokens) - run.n_drafts :])
        except Exception as error:  # noqa: BLE001 - the boundary between one request and the others
            self._scheduler.settle(run, 0)  # what is kept of it holds no cells of guesses
            self.fail(work.request.id, error if isinstance(error, EngineError) else describe_bug(error))
            return None
        self._scheduler.settle(run, step.n_accepted)
        if self._speculation is not None and run.n_drafts:
            self._speculation.settle(work.request.id, run.n_drafts, step.n_accepted)
        self._tally.note_step(run, sequence.n_generated - n_before, step.n_accepted)
        # a step may bring several tokens: none of their numbers is passed over
        self._faults.reach("token", *(str(n + 1) for n in range(n_before, sequence.n_generated)))
        return step

    def _finish(self, work: Work, reason: FinishReason, stop: str | None = None) -> None:
        usage = work.generation.usage(cached_tokens=work.sequence.n_cached or 0)
        self._drop(work)
        self._inbox.forget_abort(work.request.id)
        self._send(Done(id=work.request.id, finish_reason=reason, usage=usage, stop=stop))

    def _drop(self, work: Work) -> None:
        self._telling.tell()
        del self._works[work.request.id]
        self._scheduler.remove(work.sequence)
        work.generation.chooser.close()
        if self._speculation is not None:
            self._speculation.end(work.request.id)
        if not self._works:
            self._send_counters()  # who hears of the last end knows the whole count

    def _rest(self) -> None:
        """All work has ended and nothing is left to tidy up: look whether the books are in order."""
        if not self._idle:
            self._idle = True
            self.check_integrity()
            self._send_counters()

    def _is_repeatable(self, sequence: Sequence) -> bool:
        """Whether its answer must be the same each time; a row among guesses may be rounded otherwise."""
        return not self._works[sequence.request_id].request.speculate

    def _draft(self, sequence: Sequence, limit: int) -> list[int]:
        if self._speculation is None or self._is_repeatable(sequence):
            return []
        return self._speculation.draft(sequence.request_id, sequence.tokens, limit)

    def _tell_progress(self, sequence: Sequence) -> None:
        done = min(sequence.n_computed, sequence.n_prompt)
        self._send(Progress(id=sequence.request_id, done_tokens=done, total_tokens=sequence.n_prompt))

    def _send_counters(self) -> None:
        context = self._runner.context
        self._counted_at = self._clock()
        counters = self._tally.counters(
            scheduler=self._scheduler,
            kv=self._kv,
            store=self._snapshots,
            n_threads=context.n_threads,
            native_s=context.native_s,
        )
        self._send(Counters(counters=counters))
