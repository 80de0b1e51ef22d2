"""The engines of this machine: one supervised child for each model in use. Runs in: the runtime's event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agents.core import BUILT_IN_MODEL
from engine.model import ModelSpec
from engine.status import EngineState, EngineStatus
from engine.supervisor import Engine

log = logging.getLogger(__name__)


class EnginePool:
    """Gives each model its engine. Only one model is loaded at a time besides the default one."""

    def __init__(
        self,
        *,
        default: ModelSpec,
        make_engine: Callable[[ModelSpec], Engine],
        on_status: Callable[[str, EngineStatus], None],
    ) -> None:
        """`on_status` is told the model's name as `engine` takes it, and its engine's new status."""
        self._default = default
        self._make_engine = make_engine
        self._on_status = on_status
        self._engines: dict[str, Engine] = {}
        self._unsubscribe: list[Callable[[], None]] = []

    @property
    def default(self) -> Engine:
        return self.engine(BUILT_IN_MODEL)

    def engine(self, model: str) -> Engine:
        """The engine of `model`: "built-in" (the default) or the absolute path of a GGUF file. Loads nothing yet."""
        if model not in self._engines:
            spec = (
                self._default
                if model == BUILT_IN_MODEL
                else ModelSpec(path=Path(model), name=Path(model).stem)
            )
            engine = self._make_engine(spec)
            self._engines[model] = engine
            self._unsubscribe.append(engine.subscribe(partial(self._on_status, model)))
        return self._engines[model]

    async def release_others(self, model: str) -> None:
        """Unloads every model that is neither `model` nor the default, so that memory holds two at most."""
        for name in [name for name in self._engines if name not in (model, BUILT_IN_MODEL)]:
            engine = self._engines.pop(name)
            log.info("unloading a model that no run needs now")
            await engine.stop()

    async def retry_set_aside(self) -> None:
        """Tries every model again that was set aside. Raises EngineError when one still can't run."""
        for engine in list(self._engines.values()):
            if engine.status.state is EngineState.SET_ASIDE:
                await engine.retry_model()

    async def stop(self, timeout_s: float) -> None:
        """Ends every child within `timeout_s`."""
        engines = list(self._engines.values())
        await asyncio.gather(*(engine.stop(timeout_s) for engine in engines), return_exceptions=True)
        for unsubscribe in self._unsubscribe:
            unsubscribe()
