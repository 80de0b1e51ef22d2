"""The engine as the runtime sees it: one child process, kept alive.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from engine.bounded_log import BoundedLog
from engine.child_process import ChildDied, ChildLimits, EngineChild, clean_environment
from engine.core import (
    MAX_PROMPT_CHARS,
    Embeddings,
    Finished,
    Prefill,
    Priority,
    Request,
    Restarted,
    StreamEvent,
)
from engine.errors import (
    EngineDied,
    EngineError,
    EngineStopped,
    ModelSetAside,
    RequestInvalid,
    error_from_wire,
)
from engine.intact import IntactFiles
from engine.job import Job
from engine.messages import Count, Done, Failed, Progress, Texts
from engine.model import ModelSpec, PowerLimits
from engine.restarts import DeathRecord, RestartPolicy, SetAside
from engine.safe_settings import NOTICES, SafeMode, SettingsMemory
from engine.start_up import Started, StartUp
from engine.state_file import StateFile
from engine.status import ALLOWED_TRANSITIONS, EngineCounters, EngineState, EngineStatus
from engine.waiting_line import WaitingLine

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
        """What the child counted since it was started."""
        ...

    @property
    def status(self) -> EngineStatus:
        """The state as a snapshot."""
        ...

    def subscribe(self, callback: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Call back with each new status; returns the way to end that."""
        ...


class EngineSupervisor(Engine):
    """Keeps one child for one model. Requests wait by priority and arrival; the child serves one at a time.

    All methods belong to one event loop. state_file remembers which settings work on this computer and which file is whole; log_file takes
    the child's stderr (bounded); env is added to the child's clean environment.
    """

    def __init__(
        self,
        *,
        model: ModelSpec,
        command: Sequence[str],
        state_file: Path,
        log_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        env: Mapping[str, str] | None = None,
        limits: ChildLimits | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._limits = limits or ChildLimits()
        self._deaths = DeathRecord(policy or RestartPolicy(), clock)
        self._status = EngineStatus(
            state=EngineState.STOPPED, model_name=model.name, model_path=str(model.path)
        )
        self._callbacks: list[Callable[[EngineStatus], None]] = []
        self._stopping = asyncio.Event()
        state = StateFile(state_file)
        self._start_up = StartUp(
            model=model,
            command=command,
            environment=lambda: clean_environment(os.environ, env),
            memory=SettingsMemory(state),
            intact=IntactFiles(state),
            log=BoundedLog(log_file),
            limits=self._limits,
            on_child=self._adopt,
            on_self_test=lambda: self._set_state(EngineState.SELF_TEST),
            on_death=self._note_death,
            is_stopping=self._stopping.is_set,
        )
        self._line: WaitingLine[Job] = WaitingLine()
        self._current: Job | None = None
        self._child: EngineChild | None = None
        self._started: Started | None = None
        self._trust_memory = True
        self._start_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._count_ids = itertools.count()

    # -- what the runtime calls --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start and return when ready; idempotent. Raises ModelMissing, ModelInvalid or ModelSetAside."""
        self._stopping.clear()
        await self._ensure_child()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """End the child; waiting requests fail with EngineStopped. Idempotent."""
        self._stopping.set()
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.cancel()
            await asyncio.gather(dispatcher, return_exceptions=True)
        stopped = EngineStopped("The engine was stopped before the answer was done; ask again once it runs.")
        for job in (self._current, *iter(self._line.pop, None)):
            if job is not None:
                job.events.put_nowait(stopped)
        self._current = None
        if self._child is not None:
            await self._child.close(timeout_s)
        async with self._start_lock:  # a start in progress has noticed by now
            self._child = self._started = None
            self._set_state(EngineState.STOPPED, pid=None)

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

        Raises an EngineError: ModelMissing, ModelInvalid, ModelSetAside, PromptTooLong, RequestInvalid,
        SchemaUnsupported, EngineDied or EngineStopped.
        """
        self._refuse_when_unavailable()
        job = Job(request)
        self._line.push(job, request.priority)
        self._ensure_dispatcher()
        self._wake.set()
        try:
            while True:
                event = await job.events.get()
                if isinstance(event, EngineError):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._line.discard(job)
            job.close()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has for this model. Raises as stream() does."""
        self._refuse_when_unavailable()
        if sum(map(len, texts)) > MAX_PROMPT_CHARS:
            raise RequestInvalid(
                f"There are more than {MAX_PROMPT_CHARS:,} characters to count; split the text."
            )
        clean = tuple(text.encode("utf-8", "replace").decode("utf-8") for text in texts)
        for _ in range(2):
            child = (await self._ensure_child()).child
            message = Count(id=f"count-{next(self._count_ids)}", texts=clean)
            with suppress(ChildDied):
                return await child.count(message, self._limits.work_s)
        raise EngineDied("The engine ended twice while it counted tokens; try again.")

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        """The texts as vectors; only for an embedding model. Raises as stream() does."""
        raise RequestInvalid("The model writes text and gives no vectors; choose an embedding model.")

    async def forget_prefix(self, name: str) -> None:
        """Drop a pinned prefix wherever it is kept, because its source is gone."""

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from now on, also for children that are started later."""

    @property
    def counters(self) -> EngineCounters:
        """What the child counted since it was started."""
        return EngineCounters()

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

    # -- the dispatcher: hands one request after the other to the child ---------------------------------------

    def _ensure_dispatcher(self) -> None:
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch(), name="engine-dispatch")

    async def _dispatch(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (job := self._line.pop()) is not None:
                self._current = job
                try:
                    await self._serve(job)
                except EngineError as error:
                    job.events.put_nowait(error)
                except Exception:
                    log.exception("the engine dispatcher failed on one request")
                    job.events.put_nowait(EngineError("The engine failed on this request; try it again."))
                finally:
                    if job is self._current and not self._stopping.is_set():
                        self._current = None
            await self._revive()

    async def _serve(self, job: Job) -> None:
        """Run one request, a second time if the child dies. Raises EngineError."""
        for attempt in (1, 2):
            if not job.is_wanted():
                return
            started = await self._ensure_child()
            if not job.is_wanted():  # the caller left while the engine started: nobody waits for this answer
                return
            try:
                await self._run_on(started.child, job)
            except ChildDied as death:
                if attempt == 2:
                    raise EngineDied(
                        f"The engine ended twice while it worked on this request ({death}); "
                        "shorten the text or choose another model."
                    ) from None
                job.events.put_nowait(Restarted(reason=str(death)))
            else:
                return

    async def _run_on(self, child: EngineChild, job: Job) -> None:
        """Follow one request on one child to its end. Raises ChildDied or the request's own error."""
        self._set_state(EngineState.BUSY)
        try:
            with child.expecting(self._limits.work_s):
                job.submit_to(child)
                while not await self._follow(child, job):
                    pass
        finally:
            job.detach()
            if child.death is None and not self._stopping.is_set():
                self._set_state(EngineState.READY)

    async def _follow(self, child: EngineChild, job: Job) -> bool:
        """Pass one message on; True after the last one."""
        message = await child.receive()
        if isinstance(message, Texts):
            for text in message.items:
                if text.id != job.request.id:
                    child.kill("spoke of a request that is not its own")
                    return False
                job.take(text)
            return False
        if getattr(message, "id", None) != job.request.id:
            child.kill("spoke of a request that is not its own")
            return False
        match message:
            case Progress():
                job.events.put_nowait(
                    Prefill(done_tokens=message.done_tokens, total_tokens=message.total_tokens)
                )
            case Done():
                self._set_state(EngineState.BUSY, tokens_per_s=message.usage.tokens_per_s)
                job.events.put_nowait(
                    Finished(text=job.text, finish_reason=message.finish_reason, usage=message.usage)
                )
                return True
            case Failed():
                raise error_from_wire(message.code, message.message, message.details)
            case _:
                child.kill("spoke out of turn")
        return False

    async def _revive(self) -> None:
        """Replace a child that died while it had nothing to do; a failure shows in the status."""
        if self._child_is_dead():
            with suppress(EngineError):
                await self._ensure_child()

    # -- the child's life ------------------------------------------------------------------------------

    async def _ensure_child(self) -> Started:
        """The running child, or a new one. Raises EngineError."""
        self._ensure_dispatcher()
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
                return await self._bring_up()
            except ChildDied as death:
                await self._after_death(str(death))

    async def _bring_up(self) -> Started:
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
        )
        return started

    async def _bury(self, child: EngineChild) -> None:
        """Clear up after a child that died in service, and wait or set its model aside."""
        await child.bury()
        self._child = self._started = None
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
            await asyncio.wait_for(self._stopping.wait(), decision.delay_s)

    def _adopt(self, child: EngineChild | None) -> None:
        self._child = child
        self._set_state(self._status.state, pid=child.pid if child is not None else None)

    def _note_death(self) -> None:
        if not self._stopping.is_set():
            self._set_state(self._status.state, deaths=self._status.deaths + 1)
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
            "retry it or choose another model."
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
