"""The engine as the runtime sees it: one child process, kept alive.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from engine.core import (
    MAX_PROMPT_CHARS,
    Embeddings,
    Finished,
    Priority,
    Request,
    StreamEvent,
    Usage,
)
from engine.errors import (
    EngineError,
    EngineStopped,
    ModelSetAside,
    PromptTooLong,
    RequestInvalid,
)
from engine.host.bounded_log import BoundedLog
from engine.host.child_process import ChildDied, ChildLimits, EngineChild, clean_environment
from engine.host.dispatcher import Dispatcher
from engine.host.intact import IntactFiles
from engine.host.job import Reply, Work
from engine.host.machine import free_memory_bytes
from engine.host.plan_memory import PlanMemory
from engine.host.restarts import DeathRecord, RestartPolicy, SetAside
from engine.host.start_up import Started, StartUp
from engine.host.state_file import StateFile
from engine.host.vectors import TEXTS_A_MESSAGE, behind, joined, parts_to_embed
from engine.messages import Count, Counted, CountPrompt, Embed, Embedded, ForgetPrefix, SetLimits, Submit
from engine.model import CacheSpec, ModelSpec, PowerLimits
from engine.safe_settings import NOTICES, SafeMode
from engine.states.prefix_files import forget_on_disk
from engine.status import ALLOWED_TRANSITIONS, EngineCounters, EngineState, EngineStatus

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What the runtime may ask of an engine; EngineSupervisor and fakes.ScriptedEngine offer it."""

    async def start(self) -> None:
        """Start and return when ready; idempotent. Raises ModelMissing, ModelInvalid or ModelSetAside."""

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; waiting requests fail with EngineStopped. Idempotent."""

    async def retry_model(self) -> None:
        """Forget the deaths of a model that was set aside, and start again."""

    def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """Serve one request; closing the generator or cancelling the task aborts it."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model."""
        ...

    async def count_prompt(self, request: Request) -> int:
        """How many tokens the request's prompt has, as its answer's usage would say. Raises as stream() does."""
        ...

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        """The texts as vectors; only for an embedding model. Raises as stream() does."""
        ...

    async def forget_prefix(self, name: str) -> None:
        """Drop a pinned prefix wherever it is kept, because its source is gone."""
        ...

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from now on, also for children that are started later."""
        ...

    @property
    def counters(self) -> EngineCounters:
        """What all children counted, one after the other; the gauges are 0 while none lives."""
        ...

    @property
    def status(self) -> EngineStatus:
        """The state as a snapshot."""
        ...

    def subscribe(self, callback: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Call back with each new status; returns the way to end that."""
        ...


class EngineSupervisor(Engine):
    """Keeps one child for one model. Every request goes to the child at once, which decides who waits.

    All methods belong to one event loop. state_file remembers which settings work on this computer and which file is whole; log_file takes
    the child's stderr (bounded); cache says how much state is kept outside the KV cache, and where; env is added to the child's clean environment; free_memory
    says how many bytes a load may take now.
    """

    def __init__(
        self,
        *,
        model: ModelSpec,
        command: Sequence[str],
        state_file: Path,
        log_file: Path | None = None,
        cache: CacheSpec | None = None,
        clock: Callable[[], float] = time.monotonic,
        env: Mapping[str, str] | None = None,
        limits: ChildLimits | None = None,
        policy: RestartPolicy | None = None,
        free_memory: Callable[[], int] = free_memory_bytes,
    ) -> None:
        self._limits = limits or ChildLimits()
        self._cache = cache or CacheSpec()
        self._deaths = DeathRecord(policy or RestartPolicy(), clock)
        self._status = EngineStatus(
            state=EngineState.STOPPED, model_name=model.name, model_path=str(model.path)
        )
        self._callbacks: list[Callable[[EngineStatus], None]] = []
        self._stopping = asyncio.Event()
        state = StateFile(state_file)
        self._start_up = StartUp(
            model=model,
            cache=self._cache,
            command=command,
            environment=lambda: clean_environment(os.environ, env),
            memory=PlanMemory(state),
            intact=IntactFiles(state),
            log=BoundedLog(log_file),
            limits=self._limits,
            on_child=self._adopt,
            on_self_test=lambda: self._set_state(EngineState.SELF_TEST),
            on_death=self._note_death,
            on_progress=lambda fraction: self._set_state(self._status.state, load_progress=fraction),
            is_stopping=self._stopping.is_set,
            free_memory=free_memory,
        )
        self._dispatcher = Dispatcher(
            patience_s=self._limits.work_s, on_change=self._work_changed, on_usage=self._note_usage
        )
        self._child: EngineChild | None = None
        self._started: Started | None = None
        self._trust_memory = True
        self._start_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._power_limits: PowerLimits | None = None

    # -- what the runtime calls --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start and return when ready; idempotent. Raises ModelMissing, ModelInvalid or ModelSetAside."""
        self._stopping.clear()
        await self._ensure_child()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; waiting requests fail with EngineStopped. Idempotent."""
        self._stopping.set()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        self._dispatcher.disconnect()
        self._dispatcher.fail_all(
            EngineStopped("The engine was stopped before the answer was done; ask again once it runs.")
        )
        if self._child is not None:
            await self._child.close(timeout_s)
        async with self._start_lock:  # a start in progress has noticed by now
            self._child = self._started = None
            self._set_state(EngineState.STOPPED, pid=None, memory_bytes=None, plan=None)

    async def retry_model(self) -> None:
        """Forget the deaths of a model that was set aside, run the self-test again, and start."""
        self._deaths.forget()
        self._trust_memory = False
        self._stopping.clear()
        if self._status.state is EngineState.SET_ASIDE:
            self._set_state(EngineState.STOPPED, reason=None)
        await self._ensure_child()

    async def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """Serve one request; closing the generator or cancelling the task aborts it.

        Raises an EngineError: ModelMissing, ModelInvalid, ModelTooLarge, ModelSetAside, PromptTooLong, RequestInvalid,
        SchemaUnsupported, EngineBusy, EngineDied or EngineStopped.
        """
        self._refuse_when_unavailable()
        job = self._dispatcher.take_up(Submit(request=request))
        self._see_to_child()
        try:
            while True:
                event = await job.events.get()
                if isinstance(event, EngineError):
                    raise event
                assert not isinstance(event, Reply)
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._dispatcher.leave(job)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model. Raises as stream() does."""
        if sum(map(len, texts)) > MAX_PROMPT_CHARS:
            raise RequestInvalid(
                f"There are more than {MAX_PROMPT_CHARS:,} characters to count; split the text."
            )
        clean = tuple(text.encode("utf-8", "replace").decode("utf-8") for text in texts)
        reply = await self._call(Count(id="", texts=clean))
        assert isinstance(reply, Counted)
        return list(reply.counts)

    async def count_prompt(self, request: Request) -> int:
        """How many tokens the request's prompt has, as its answer's usage would say. Raises as stream() does."""
        reply = await self._call(CountPrompt(id="", request=request))
        assert isinstance(reply, Counted)
        return sum(reply.counts)

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        """The texts as vectors; only for an embedding model. Raises as stream() does."""
        parts = parts_to_embed(texts)
        calls = [
            asyncio.ensure_future(
                self._embed_part(
                    Embed(id="", texts=part, priority=priority), n_before=number * TEXTS_A_MESSAGE
                )
            )
            for number, part in enumerate(parts)
        ]
        try:
            replies = await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return joined(parts, [reply for reply in replies if reply is not None])

    async def _embed_part(self, message: Embed, *, n_before: int) -> Embedded | None:
        try:
            reply = await self._call(message)
        except PromptTooLong as error:
            raise behind(error, n_before) from None
        return reply if isinstance(reply, Embedded) else None

    async def forget_prefix(self, name: str) -> None:
        """Drop a pinned prefix wherever it is kept, because its source is gone."""
        self._dispatcher.forget_prefix(name)
        try:
            if self._started is not None and not self._child_is_dead():
                await self._call(ForgetPrefix(id="", name=name))
        finally:
            # also what this or another model left on disk earlier: no child is needed for that
            await asyncio.to_thread(forget_on_disk, self._cache, name)

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from now on, also for children that are started later."""
        self._power_limits = limits
        if self._started is not None:
            self._started.child.post(SetLimits(limits=limits))

    @property
    def counters(self) -> EngineCounters:
        """What all children counted, one after the other; the gauges are 0 while none lives."""
        return self._dispatcher.counters

    @property
    def status(self) -> EngineStatus:
        """The state as a snapshot."""
        return self._status

    def subscribe(self, callback: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Call back with each new status; returns the way to end that."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    async def _call(self, work: Work) -> Reply:
        """Work that has one answer and no stream."""
        self._refuse_when_unavailable()
        job = self._dispatcher.take_up(work)
        self._see_to_child()
        try:
            while True:
                event = await job.events.get()
                if isinstance(event, EngineError):
                    raise event
                if isinstance(event, Reply):
                    return event
        finally:
            self._dispatcher.leave(job)

    # -- the keeper: sees to it that there is a child when there is work ---------------------------------------

    def _see_to_child(self) -> None:
        self._ensure_keeper()
        if self._started is None or self._child_is_dead():
            self._wake.set()

    def _ensure_keeper(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="engine-keep")

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            await self._wake.wait()
            self._wake.clear()
            if not self._dispatcher.has_work and not self._child_is_dead():
                continue
            try:
                await self._ensure_child()
            except EngineError as error:
                self._dispatcher.fail_all(error)
            except Exception:
                log.exception("the engine could not be kept running")
                self._dispatcher.fail_all(EngineError("The engine failed; try it again."))

    def _work_changed(self) -> None:
        state = self._status.state
        if state in (EngineState.READY, EngineState.BUSY) and not self._child_is_dead():
            state = EngineState.BUSY if self._dispatcher.is_busy else EngineState.READY
        self._set_state(state, running=self._dispatcher.n_running, waiting=self._dispatcher.n_waiting)

    def _note_usage(self, usage: Usage) -> None:
        self._set_state(self._status.state, tokens_per_s=usage.tokens_per_s)

    # -- the child's life ------------------------------------------------------------------------------

    async def _ensure_child(self) -> Started:
        """The running child, or a new one. Raises EngineError."""
        self._ensure_keeper()
        async with self._start_lock:
            try:
                return await self._child_or_new()
            except asyncio.CancelledError:
                if self._started is None:
                    self._set_state(EngineState.STOPPED, pid=None)
                raise

    async def _child_or_new(self) -> Started:
        while True:
            self._refuse_when_unavailable()
            if self._started is not None and self._started.child.death is None:
                return self._started
            if self._started is not None:
                await self._bury(self._started.child)
            try:
                await self._bring_up()
            except ChildDied as death:
                await self._after_death(str(death))

    async def _bring_up(self) -> None:
        self._set_state(EngineState.STARTING, reason=None)
        try:
            started = await self._start_up.start(trust_memory=self._trust_memory)
        except EngineError as error:
            if isinstance(error, ModelSetAside):
                self._set_state(EngineState.SET_ASIDE, reason=str(error), pid=None)
                raise ModelSetAside(self._set_aside_sentence()) from None
            self._set_state(EngineState.STOPPED, reason=str(error), pid=None)
            raise
        self._trust_memory = True
        self._started = started
        full_speed = started.mode is SafeMode.FULL_SPEED
        self._set_state(
            EngineState.READY,
            n_ctx=started.facts.n_ctx,
            notice=NOTICES[started.mode],
            safe_mode=None if full_speed else started.mode.value,
            embedding=started.facts.embedding,
            memory_bytes=started.facts.memory_bytes,
            load_progress=None,
            plan=started.plan,
        )
        if self._power_limits is not None:
            started.child.post(SetLimits(limits=self._power_limits))
        with suppress(ChildDied):  # noticed by whoever waits for it
            self._dispatcher.connect(started.child)

    async def _bury(self, child: EngineChild) -> None:
        """Clear up after a child that died in service, and wait or set its model aside."""
        await child.bury()
        self._child = self._started = None
        self._dispatcher.disconnect()
        await self._after_death(str(child.death))

    async def _after_death(self, reason: str) -> None:
        """Decide what follows a death: wait out the back-off, or raise ModelSetAside."""
        if self._stopping.is_set():
            return
        decision = self._deaths.record(reason)
        if isinstance(decision, SetAside):
            self._set_state(EngineState.SET_ASIDE, reason=decision.reason, pid=None)
            raise ModelSetAside(self._set_aside_sentence())
        self._set_state(EngineState.RESTARTING, pid=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(
                decision.delay_s
            ):  # wait_for() can lose a cancellation that comes with the event
                await self._stopping.wait()

    def _adopt(self, child: EngineChild | None) -> None:
        self._child = child
        self._set_state(self._status.state, pid=child.pid if child is not None else None, load_progress=None)

    def _note_death(self) -> None:
        if not self._stopping.is_set():
            self._set_state(self._status.state, deaths=self._status.deaths + 1)
            if self._started is not None and self._started.child.death is not None:
                self._dispatcher.lose_child(str(self._started.child.death))
            self._wake.set()

    def _child_is_dead(self) -> bool:
        return self._started is not None and self._started.child.death is not None

    def _refuse_when_unavailable(self) -> None:
        if self._stopping.is_set():
            raise EngineStopped("The engine is stopped; start it again first.")
        if self._status.state is EngineState.SET_ASIDE:
            raise ModelSetAside(self._set_aside_sentence())

    def _set_aside_sentence(self) -> str:
        return (
            f"The model {self._status.model_name} is set aside because {self._status.reason}; "
            "`hearth doctor --retry` tries it again, or choose another model."
        )

    def _set_state(self, state: EngineState, **changes: Any) -> None:
        """The one place where the state changes: refuses, logs, notifies."""
        before = self._status
        if state is not before.state and state not in ALLOWED_TRANSITIONS[before.state]:
            raise RuntimeError(f"the engine can't go from {before.state} to {state}")
        self._status = replace(before, state=state, **changes)
        if self._status == before:
            return
        if state is not before.state:
            log.info("engine %s -> %s", before.state, state)
        for callback in tuple(self._callbacks):
            try:
                callback(self._status)
            except Exception:
                log.exception("a listener of the engine's status failed")
