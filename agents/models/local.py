"""The engines of this machine: one supervised child for each model in use. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from agents.clock import Clock, SystemClock
from agents.core import BUILT_IN_MODEL
from agents.models.pooled import PooledEngine
from agents.models.residency import Residency, Resident, idle_ones, to_make_room
from engine.errors import EngineError
from engine.model import ModelSpec, PowerLimits
from engine.status import EngineState, EngineStatus
from engine.supervisor import Engine

MEMORY_SHARE = 0.6  # of the computer's memory, for all models together
PROBE_TIMEOUT_S = 10.0
OVERHEAD_BYTES = 300_000_000  # KV cache and buffers of a model that was never loaded, as a guess

log = logging.getLogger(__name__)


def default_residency() -> Residency:
    """What a computer of this size can spare."""
    return Residency(memory_bytes=int(psutil.virtual_memory().total * MEMORY_SHARE))


class EnginePool:
    """Gives each model its engine. Several may be loaded at once; what is not used makes room, as `residency` says."""

    def __init__(
        self,
        *,
        default: ModelSpec,
        make_engine: Callable[[ModelSpec], Engine],
        on_status: Callable[[str, EngineStatus], None],
        others: Sequence[ModelSpec] = (),
        residency: Residency | None = None,
        next_due: Callable[[], Mapping[str, float]] = dict,
        clock: Clock | None = None,
    ) -> None:
        """`others` are the models of which more is known than their file, such as the checksum that it must have.

        `on_status` is told the model's name as `engine` takes it, and its engine's new status.

        `next_due` says in how many seconds a scheduled run needs a model.
        """
        self._known = {BUILT_IN_MODEL: default} | {str(spec.path): spec for spec in others}
        self._make_engine = make_engine
        self._on_status = on_status
        self._residency = residency or default_residency()
        self._next_due = next_due
        self._clock = clock or SystemClock()
        self._engines: dict[str, PooledEngine] = {}
        self._unsubscribe: list[Callable[[], None]] = []
        self._limits = PowerLimits()
        self._moving = asyncio.Lock()  # one at a time decides what leaves: two would make room twice

    @property
    def in_use_since_start(self) -> Mapping[str, PooledEngine]:
        """The engines that somebody asked for, by their models as `engine` takes them; loaded or not."""
        return self._engines

    @property
    def default(self) -> Engine:
        return self.engine(BUILT_IN_MODEL)

    def engine(self, model: str) -> Engine:
        """The engine of `model`: "built-in" (the default) or the absolute path of a GGUF file. Loads nothing yet."""
        if model not in self._engines:
            spec = self._known.get(model) or ModelSpec(path=Path(model), name=Path(model).stem)
            engine = PooledEngine(
                self._make_engine(spec),
                size_bytes=_file_bytes(spec.path) + OVERHEAD_BYTES,
                make_room=self._make_room,
                monotonic=self._clock.monotonic,
            )
            engine.set_limits(self._limits)
            self._engines[model] = engine
            self._unsubscribe.append(engine.subscribe(partial(self._on_status, model)))
        return self._engines[model]

    @property
    def pids(self) -> list[int]:
        """The process ids of all children that live."""
        return [engine.status.pid for engine in self._engines.values() if engine.status.pid is not None]

    def set_limits(self, limits: PowerLimits) -> None:
        """What the surroundings allow from now on, also to engines that are made later."""
        self._limits = limits
        for engine in self._engines.values():
            engine.set_limits(limits)

    async def probe(self, timeout_s: float = PROBE_TIMEOUT_S) -> None:
        """Asks every loaded engine something small; one that does not answer is ended, and the next use starts it again."""
        loaded = [
            engine
            for engine in self._engines.values()
            if engine.status.state in (EngineState.READY, EngineState.BUSY)
        ]
        await asyncio.gather(*(_probe(engine, timeout_s) for engine in loaded))

    async def unload(self, model: str) -> bool:
        """Gives the model's memory back, if nobody uses it now; the next use loads it again."""
        async with self._moving:
            engine = self._engines.get(model)
            return engine is not None and engine.is_loaded and await self._unload(model)

    async def unload_idle(self) -> None:
        """Lets go of what nobody used for a while; to be called now and then."""
        async with self._moving:
            for model in idle_ones(self._residents(), self._residency):
                await self._unload(model)

    async def forget_prefix(self, name: str) -> None:
        """Drops what was computed for a pinned prefix, with every model, and what an earlier runtime left on disk."""
        self.engine(BUILT_IN_MODEL)  # the disk is every engine's, so one is enough
        for engine in tuple(self._engines.values()):
            try:
                await engine.forget_prefix(name)
            except EngineError as error:  # a model in trouble keeps nothing that matters
                log.info("a prefix could not be forgotten: %s", error.code)

    async def retry_set_aside(self) -> None:
        """Tries every model again that was set aside. Raises EngineError when one still can't run."""
        for engine in list(self._engines.values()):
            if engine.status.state is EngineState.SET_ASIDE:
                await engine.retry_model()

    async def stop(self, timeout_s: float) -> None:
        """Ends every child within `timeout_s`."""
        engines = list(self._engines.values())
        await asyncio.gather(*(engine.close(timeout_s) for engine in engines), return_exceptions=True)
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    async def _make_room(self, coming: PooledEngine) -> None:
        async with self._moving:
            others = [resident for resident in self._residents() if self._engines[resident.key] is not coming]
            for model in to_make_room(others, coming.memory_bytes, self._residency):
                await self._unload(model)

    async def _unload(self, model: str) -> bool:
        log.info("unloading a model that nobody uses now")
        return await self._engines[model].unload()

    def _residents(self) -> list[Resident]:
        due = self._next_due()
        return [
            Resident(
                key=model,
                memory_bytes=engine.memory_bytes,
                idle_s=engine.idle_s,
                in_use=engine.in_use,
                is_default=model == BUILT_IN_MODEL,
                reload_s=engine.reload_s,
                due_s=due.get(model),
            )
            for model, engine in self._engines.items()
            if engine.is_loaded
        ]


async def _probe(engine: PooledEngine, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await engine.count_tokens(["awake"])
    except TimeoutError:
        log.warning("an engine does not answer after a sleep; it is started anew")
        await engine.stop()
    except EngineError as error:  # it died meanwhile: whoever needs it starts it again
        log.info("an engine is not there after a sleep: %s", error.code)


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
