"""The engine child's loop: receive, schedule, compute, choose, tell.

Runs in: engine child, main thread, which is the engine thread.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Protocol, assert_never

from engine.child_pipes import Inbox
from engine.core import FinishReason, Request, Usage
from engine.errors import EngineError, ModelInvalid, PromptTooLong
from engine.faults import Faults
from engine.generation import CallReader, Generation, TokenChooser
from engine.messages import (
    PROTOCOL,
    Abort,
    CalledTool,
    Count,
    Counted,
    Done,
    Embed,
    Failed,
    ForgetPrefix,
    FromChild,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadFault,
    Progress,
    SetLimits,
    Submit,
    Text,
    Texts,
    ToChild,
)
from engine.scheduler import Scheduler, Sequence
from engine.self_test import SelfTestFailed, run_self_test


class Runner(Protocol):
    """What the loop needs of a loaded model; llama.runner has the real one, the tests a small one."""

    n_batch: int
    n_ctx: int

    def facts(self) -> Loaded:
        """The model in numbers."""
        ...

    def prompt_tokens(self, request: Request) -> list[int]:
        """The conversation, or the raw prompt, as tokens."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, counted."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        ...

    def reuse_prefix(self, tokens: list[int]) -> int:
        """How many leading tokens are in the context already."""
        ...

    def decode(self, tokens: list[int], start: int) -> bool:
        """Compute a batch; False when it was aborted."""
        ...

    def new_chooser(self, request: Request, prompt: list[int]) -> TokenChooser:
        """The sampler of one request."""
        ...

    def call_reader(self, request: Request) -> CallReader | None:
        """What takes tool calls out of the answer; None when there can't be any."""
        ...

    def logits_are_finite(self) -> bool:
        """Whether the last batch gave usable numbers."""
        ...

    def close(self) -> None:
        """Free native memory."""


class EngineServer:
    """Serves one request at a time on one model."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        send: Callable[[FromChild], None],
        beat: Callable[[], None],
        faults: Faults,
        load_runner: Callable[[Load, Callable[[], bool]], Runner],
    ) -> None:
        self._inbox = inbox
        self._send = send
        self._beat = beat
        self._faults = faults
        self._load_runner = load_runner
        self._runner: Runner | None = None
        self._scheduler = Scheduler(n_batch=1)
        self._generation: Generation | None = None
        self._waiting: list[Request] = []
        self._n_batches = 0

    def run(self, *, build: str) -> None:
        """Greet, then serve for ever; the process ends in Inbox.read_forever."""
        self._send(Hello(protocol=PROTOCOL, pid=os.getpid(), build=build))
        while True:
            self.turn()

    def turn(self) -> None:
        """Take one message if there is one, then compute one batch if there is work."""
        message = self._inbox.next(wait=self._generation is None and not self._waiting)
        if message is not None:
            self._handle(message)
        elif self._generation is None and self._waiting:
            request = min(self._waiting, key=lambda waiting: waiting.priority)
            self._waiting.remove(request)
            self._guarded(request.id, lambda: self._begin(request))
        if self._generation is not None:
            self._guarded(self._generation.sequence.request_id, self._step)

    def _handle(self, message: ToChild) -> None:
        match message:
            case Load():
                self._load(message)
            case Submit():
                self._waiting.append(message.request)
            case Count():
                self._guarded(message.id, lambda: self._count(message))
            case Abort():
                if self._generation is None or self._generation.sequence.request_id != message.id:
                    self._inbox.forget_abort(message.id)  # it came after the end, or before the beginning
                    self._leave_line(message.id)
            case Embed() | ForgetPrefix():
                self._guarded(message.id, self._refuse_unknown)
            case SetLimits():
                pass
            case _:
                assert_never(message)

    def _leave_line(self, request_id: str) -> None:
        staying = [request for request in self._waiting if request.id != request_id]
        if len(staying) < len(self._waiting):
            self._waiting = staying
            usage = Usage(prompt_tokens=0, completion_tokens=0, prefill_s=0.0, decode_s=0.0)
            self._send(Done(id=request_id, finish_reason=FinishReason.CANCELLED, usage=usage))

    def _load(self, load: Load) -> None:
        self._faults.reach("load", *_setting_tags(load))
        try:
            runner = self._load_runner(load, self._is_aborted)
            if load.self_test:
                self._faults.reach("selftest", *_setting_tags(load))
                run_self_test(runner)
        except ModelInvalid as error:
            self._send(LoadFailed(message=str(error), fault=LoadFault.INVALID))
        except SelfTestFailed as error:
            self._send(LoadFailed(message=str(error), fault=LoadFault.SELF_TEST))
        else:
            self._runner = runner
            self._scheduler = Scheduler(n_batch=runner.n_batch)
            self._send(runner.facts())

    def _begin(self, request: Request) -> None:
        runner = self._ready_runner()
        tokens = runner.prompt_tokens(request)
        if len(tokens) >= runner.n_ctx:
            raise PromptTooLong(len(tokens), runner.n_ctx)
        chooser = runner.new_chooser(request, tokens)
        sequence = Sequence(request_id=request.id, tokens=tokens, n_prompt=len(tokens))
        sequence.n_computed = runner.reuse_prefix(tokens)
        self._n_batches = 0
        self._scheduler.add(sequence)
        self._generation = Generation(
            sequence=sequence,
            sampling=request.sampling,
            n_ctx=runner.n_ctx,
            chooser=chooser,
            piece=runner.piece,
            call_reader=runner.call_reader(request),
        )
        self._tell_progress(sequence)

    def _step(self) -> None:
        generation = self._generation
        assert generation is not None
        sequence = generation.sequence
        if self._inbox.is_aborted(sequence.request_id):
            self._finish(FinishReason.CANCELLED)
            return
        batch = self._scheduler.schedule()
        if batch is not None:
            generation.begin()
            self._n_batches += 1
            if sequence.n_generated == 0:
                self._faults.reach("prefill", str(self._n_batches))
            if not self._ready_runner().decode(batch.tokens, batch.start):
                return  # aborted inside the batch; the next turn sees the same flag
            self._scheduler.update(batch)
            if sequence.n_generated == 0:
                self._tell_progress(sequence)
            if not batch.ends_sequence:
                return
        self._advance(generation)

    def _advance(self, generation: Generation) -> None:
        step = generation.advance((-1,))
        request_id = generation.sequence.request_id
        self._faults.reach("token", str(generation.sequence.n_generated))
        if step.text or step.tokens:
            self._send(
                Texts(
                    items=(Text(id=request_id, text=step.text, tokens=step.tokens, logprobs=step.logprobs),)
                )
            )
        else:
            self._beat()
        for call in step.calls:
            self._send(CalledTool(id=request_id, call=call))
        if step.finish_reason is not None:
            self._finish(step.finish_reason)

    def _finish(self, reason: FinishReason) -> None:
        generation = self._generation
        assert generation is not None
        usage = generation.usage()
        self._drop_generation()
        self._send(Done(id=generation.sequence.request_id, finish_reason=reason, usage=usage))

    def _drop_generation(self) -> None:
        generation, self._generation = self._generation, None
        if generation is not None:
            self._scheduler.remove(generation.sequence)
            generation.chooser.close()
            self._inbox.forget_abort(generation.sequence.request_id)

    def _count(self, message: Count) -> None:
        runner = self._ready_runner()
        counts: list[int] = []
        for text in message.texts:
            counts.append(runner.count_tokens(text))
            self._beat()
        self._send(Counted(id=message.id, counts=tuple(counts)))

    def _refuse_unknown(self) -> None:
        raise EngineError("This model can't do that; choose another one.")

    def _guarded(self, request_id: str, work: Callable[[], None]) -> None:
        """Turn what goes wrong with one request into its own failure; the child goes on."""
        try:
            work()
        except EngineError as error:
            self._fail(request_id, error)
        except Exception as error:  # noqa: BLE001 - the boundary between one request and the child
            # only the kind and the place: the message of an exception could hold the user's text
            frames = traceback.extract_tb(error.__traceback__)
            place = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
            sys.stderr.write(f"engine: {type(error).__name__} in {place}\n")
            sys.stderr.flush()
            self._fail(
                request_id, EngineError("The engine could not finish this request; see the engine log.")
            )

    def _fail(self, request_id: str, error: EngineError) -> None:
        if self._generation is not None and self._generation.sequence.request_id == request_id:
            self._drop_generation()
        self._inbox.forget_abort(request_id)
        self._send(Failed(id=request_id, code=error.code, message=str(error), details=error.details))

    def _tell_progress(self, sequence: Sequence) -> None:
        self._send(
            Progress(id=sequence.request_id, done_tokens=sequence.n_computed, total_tokens=sequence.n_prompt)
        )

    def _is_aborted(self) -> bool:
        generation = self._generation
        return generation is not None and self._inbox.is_aborted(generation.sequence.request_id)

    def _ready_runner(self) -> Runner:
        if self._runner is None:
            raise EngineError("No model is loaded; start the engine first.")
        return self._runner


def _setting_tags(load: Load) -> list[str]:
    """The fast settings that are on, as tags for faults."""
    names = ("use_extra_bufts", "flash_attention", "use_mmap")
    return [name for name in names if getattr(load.settings, name)]
