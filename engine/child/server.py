"""The engine child's main loop: take messages, load the model, and let its loop work a step at a time.

Runs in: engine child, main thread, which is the engine thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from engine.child.batch_loop import BatchLoop
from engine.child.channel import BEAT_INTERVAL_S, Inbox
from engine.child.embedding_loop import Embedder, EmbeddingLoop, try_embedder
from engine.child.faults import Faults
from engine.child.runner import Runner
from engine.child.self_test import SelfTestFailed, run_self_test
from engine.child.trouble import describe_bug
from engine.errors import EngineError, ModelInvalid, ModelTooLarge
from engine.messages import (
    PROTOCOL,
    Abort,
    Count,
    Counted,
    CountPrompt,
    Embed,
    Failed,
    ForgetPrefix,
    Forgotten,
    FromChild,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadFault,
    SetLimits,
    Submit,
    ToChild,
)
from engine.pace.os_priority import ProcessPriority
from engine.pace.pacer import Pacer, make_pacer
from engine.pace.speculation import Speculation
from engine.states.snapshots import SnapshotStore

Loop = BatchLoop | EmbeddingLoop  # what a model that writes, and one that makes vectors, is served by
TIDY_AFTER_S = 1.0  # without work; a tool's answer or a person's next question often comes sooner
READ_S = 0.02  # so long new requests are turned into tokens between two batches
READ_WHEN_FULL_S = 0.001  # the same when they would only wait: at least one, and the others are not held up


class EngineServer:
    """Serves one model."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        send: Callable[[FromChild], None],
        beat: Callable[[], None],
        faults: Faults,
        load_runner: Callable[[Load, Callable[[], bool]], Runner | Embedder],
        process: ProcessPriority | None = None,
    ) -> None:
        self._inbox = inbox
        self._send = send
        self._beat = beat
        self._faults = faults
        self._load_runner = load_runner
        self._process = process
        self._loop: Loop | None = None
        self._busy = False

    def run(self, *, build: str, devices: tuple[str, ...] = ()) -> None:
        """Greet, then serve for ever; the process ends in Inbox.read_forever."""
        self._send(Hello(protocol=PROTOCOL, pid=os.getpid(), build=build, devices=devices))
        try:
            while True:
                self.turn()
        except Exception as error:  # noqa: BLE001 - a bug in the loop itself: the next child begins with clean books
            describe_bug(error)
            raise SystemExit(1) from None

    def turn(self) -> None:
        """Take the messages that are there, waiting for one if there is nothing else to do; then compute one batch."""
        message = self._inbox.next(wait=False) if self._busy else self._wait()
        started = time.monotonic()
        while message is not None:
            self._handle(message)
            limit_s = READ_WHEN_FULL_S if self._loop is not None and self._loop.is_full else READ_S
            is_late = isinstance(message, Submit | Embed) and time.monotonic() - started >= limit_s
            message = None if is_late else self._inbox.next(wait=False)
        self._busy = self._loop is not None and self._loop.step()

    def _wait(self) -> ToChild | None:
        """The next message; after a while without one the loop tidies up, a little at a time.

        Work that is held back, such as background work on battery, is owed: until it goes on the child says that it
        lives, or the runtime would take it for hung.
        """
        while True:
            loop = self._loop
            if loop is not None and loop.has_work:
                timeout_s: float | None = BEAT_INTERVAL_S
            else:
                timeout_s = None if loop is None or loop.is_tidy else TIDY_AFTER_S
            message = self._inbox.next(wait=True, timeout_s=timeout_s)
            if message is not None or loop is None:
                return message
            if loop.has_work:
                self._beat()
            else:
                loop.tidy()

    def close(self) -> None:
        """Let go of the model."""
        if self._loop is not None:
            self._loop.close()

    def _handle(self, message: ToChild) -> None:
        match message:
            case Load():
                self._load(message)
            case Submit(request=request):
                self._guarded(request.id, lambda loop: loop.submit(request))
            case Abort(id=request_id):
                if self._loop is None:
                    self._inbox.forget_abort(request_id)
                else:
                    self._loop.abort(request_id)
            case Count(id=id_, texts=texts):
                self._guarded(id_, lambda loop: self._send(Counted(id=id_, counts=loop.count(texts))))
            case CountPrompt(id=id_, request=request):
                self._guarded(
                    id_, lambda loop: self._send(Counted(id=id_, counts=(loop.count_prompt(request),)))
                )
            case ForgetPrefix(id=id_, name=name):
                self._guarded(id_, lambda loop: self._forget_prefix(loop, id_, name))
            case Embed(id=id_):
                self._guarded(id_, lambda loop: loop.embed(message))
            case SetLimits(limits=limits):
                if self._loop is not None:
                    self._loop.set_limits(limits)
            case _:
                assert_never(message)

    def _load(self, load: Load) -> None:
        self._faults.reach("load", *_setting_tags(load))
        batch_stable = False
        try:
            runner = self._load_runner(load, self._should_stop)
            if load.self_test:
                self._faults.reach("selftest", *_setting_tags(load))
                batch_stable = _try(runner)
        except ModelTooLarge as error:
            self._send(LoadFailed(message=str(error), fault=LoadFault.NO_ROOM))
        except ModelInvalid as error:
            self._send(LoadFailed(message=str(error), fault=LoadFault.INVALID))
        except SelfTestFailed as error:
            self._send(LoadFailed(message=str(error), fault=LoadFault.SELF_TEST))
        else:
            self._loop = self._make_loop(runner, load)
            self._send(replace(runner.facts(), batch_stable=batch_stable))

    def _make_loop(self, runner: Runner | Embedder, load: Load) -> Loop:
        if isinstance(runner, Embedder):
            return EmbeddingLoop(
                runner,
                pacer=self._make_pacer(runner.facts(), n_batch=runner.batch_tokens),
                inbox=self._inbox,
                send=self._send,
                beat=self._beat,
            )
        snapshots = SnapshotStore(
            load.cache, identity=runner.state_identity(), can_rewind=runner.can_rewind, note=_note
        )
        speculates = load.speculate and runner.can_rewind  # a guess that falls has to be taken back
        return BatchLoop(
            runner,
            pacer=self._make_pacer(runner.facts(), n_batch=runner.n_batch),
            snapshots=snapshots,
            speculation=Speculation(draft_source=runner.draft_source) if speculates else None,
            n_slots=load.n_slots,
            inbox=self._inbox,
            send=self._send,
            beat=self._beat,
            faults=self._faults,
        )

    def _make_pacer(self, facts: Loaded, *, n_batch: int) -> Pacer:
        pacer = make_pacer(
            max_threads=facts.n_threads,
            n_batch=n_batch,
            on_gpu=facts.n_gpu_layers > 0,
            process=self._process,
        )
        self._inbox.on_awaited = pacer.lift
        return pacer

    def _should_stop(self) -> bool:
        return self._loop is not None and self._loop.should_stop()

    def _forget_prefix(self, loop: Loop, message_id: str, name: str) -> None:
        loop.forget_prefix(name)
        self._send(Forgotten(id=message_id))

    def _guarded(self, message_id: str, work: Callable[[Loop], None]) -> None:
        """Turn what goes wrong with one message into its own failure; the child goes on."""
        try:
            if self._loop is None:
                raise EngineError("No model is loaded; start the engine first.")
            work(self._loop)
        except EngineError as error:
            self._fail(message_id, error)
        except Exception as error:  # noqa: BLE001 - the boundary between one request and the child
            self._fail(message_id, describe_bug(error))

    def _fail(self, message_id: str, error: EngineError) -> None:
        self._inbox.forget_abort(message_id)
        self._send(Failed(id=message_id, code=error.code, message=str(error), details=error.details))


def _try(runner: Runner | Embedder) -> bool:
    """Whether batches are bit-stable. Raises SelfTestFailed."""
    return try_embedder(runner) if isinstance(runner, Embedder) else run_self_test(runner)


def _setting_tags(load: Load) -> list[str]:
    """The fast settings that are on, as tags for faults."""
    names = ("use_extra_bufts", "flash_attention", "use_mmap")
    return [name for name in names if getattr(load.settings, name)]


def _note(sentence: str) -> None:
    sys.stderr.write(f"engine: {sentence}\n")
    sys.stderr.flush()
